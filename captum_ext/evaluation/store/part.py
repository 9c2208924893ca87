"""One process's SQLite file: its tables, whether it is damaged, how groups are undone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from captum_ext.evaluation.store.about import About, Run, text_of
from captum_ext.evaluation.store.folder import ForeignFileError, ResultFolder
from captum_ext.evaluation.store.rows import checksum, is_sound

BESIDE = ("-journal", "-wal", "-shm")
_MAGIC = b"SQLite format 3\x00"
_APPLICATION = 0x43455854
"""Stands in a file's header (its bytes 68 to 71): this program's."""
_SCHEMA = (
    "CREATE TABLE run (content TEXT, unknown TEXT, session TEXT, checksum INTEGER)",
    """CREATE TABLE seen (
        position INTEGER PRIMARY KEY, digest TEXT, target INTEGER, prediction INTEGER,
        probability REAL, reason TEXT, picture BLOB, labeled INTEGER, one_region INTEGER,
        checksum INTEGER)""",
    """CREATE TABLE result (
        position INTEGER, method TEXT, seconds REAL, forwards REAL, gradients REAL,
        reasons TEXT, states BLOB, picture BLOB, checksum INTEGER,
        PRIMARY KEY (position, method))""",
    # The positions of a group, and a checksum over its results.
    """CREATE TABLE done (
        number INTEGER, method TEXT, positions TEXT, checksum INTEGER,
        PRIMARY KEY (number, method))""",
    # Of images that the report may show; others' pieces go.
    """CREATE TABLE piece (
        position INTEGER, method TEXT, score REAL, held TEXT, checksum INTEGER,
        PRIMARY KEY (position, method))""",
    f"PRAGMA application_id = {_APPLICATION}",
)
MERGED = {"result": ("position", "method"), "seen": ("position",), "done": ("number", "method"),
           "piece": ("position", "method")}  # fmt: skip


def connect(file: Path | str) -> sqlite3.Connection:
    """A file, or ":memory:", whose writes are on the disk when they end."""
    connection = sqlite3.connect(file, timeout=60, isolation_level=None)
    # A result is on the disk before the next begins.
    connection.execute("PRAGMA synchronous = FULL")
    # A flipped bit must not end the reading: the checksum tells.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


@contextmanager
def connected(file: Path) -> Iterator[sqlite3.Connection]:
    """A part, open for writing: what a killed process left half written is rolled back."""
    connection = connect(file)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is written within, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def create(connection: sqlite3.Connection, about: About, session: str) -> None:
    """All tables in one transaction: a file has them all, or none."""
    if tables_of(connection):
        return
    with transaction(connection):
        for command in _SCHEMA:
            connection.execute(command)
        texts = (text_of(about.content), text_of(about.unknown))
        connection.execute(
            "INSERT INTO run VALUES (?, ?, ?, ?)", (*texts, session, checksum(texts))
        )


def tables_of(connection: sqlite3.Connection) -> set[str]:
    """The names of a file's tables."""
    return {
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }


def damage_of(file: Path, folder: ResultFolder) -> str | None:
    """Why a part is damaged; None if it isn't.

    Raises:
        ForeignFileError: if it is no store of a run's.
        OSError: if it can't be told now.
    """
    with file.open("rb") as stream:
        head = stream.read(100)
    bears_name = head.startswith(_MAGIC) and head[68:72] == _APPLICATION.to_bytes(4, "big")
    if not (bears_name or folder.owns(file.name)):
        raise ForeignFileError(
            f"{file} is no store of results, but has the name of one: move it away, or give "
            "another folder."
        )
    try:
        with connected(file) as part:
            (verdict,) = part.execute("PRAGMA quick_check(1)").fetchone()
            tables = tables_of(part)
            runs = part.execute("SELECT * FROM run").fetchall() if "run" in tables else []
    except sqlite3.OperationalError as error:
        raise OSError(f"{file} can't be read: {error}.") from error
    except sqlite3.DatabaseError as error:
        return str(error)
    if verdict != "ok":
        return str(verdict).splitlines()[-1]
    # Earlier releases had fewer; their runs are told by what they hold.
    if tables and not {"run", "seen", "result", "done"} <= tables <= {"run", *MERGED}:
        raise ForeignFileError(
            f"{file} is no store of results, as it holds other tables: move it away, or give "
            "another folder."
        )
    if tables and [checksum(run[:2]) for run in runs] != [run[3] for run in runs[:1]]:
        return "what it says of its run is not what was written"
    return None


def set_aside(file: Path) -> Path:
    """Renames a damaged part, and what SQLite would take for its own beside it."""
    number = next(n for n in range(1, 10**6) if not Path(f"{file}.damaged-{n}").exists())
    for ending in BESIDE:
        beside = Path(f"{file}{ending}")
        if beside.exists():
            beside.rename(f"{file}.damaged-{number}{ending}")
    return file.rename(f"{file}.damaged-{number}")


def run_of(file: Path) -> Run | None:
    """Whose file it is; None where nothing was written yet."""
    with connected(file) as part:
        if not tables_of(part):
            return None
        content, unknown, session = part.execute(
            "SELECT content, unknown, session FROM run"
        ).fetchone()
    return Run(json.loads(content), json.loads(unknown), session)


def has_results(file: Path) -> bool:
    """Whether any group is done."""
    with connected(file) as part:
        return bool(tables_of(part)) and part.execute("SELECT 1 FROM done").fetchone() is not None


def units_of(part: sqlite3.Connection) -> Iterator[tuple[int, bool]]:
    """The row of every finished group and method, and whether all of it is as it was written."""
    seen = {row[0] for row in part.execute("SELECT * FROM seen") if is_sound(row)}
    found = {row[:2]: row[-1] if is_sound(row) else None
             for row in part.execute("SELECT * FROM result")}  # fmt: skip
    bad = {row[:2] for row in part.execute("SELECT * FROM piece") if not is_sound(row)}
    for row, _, method, text, written in part.execute("SELECT rowid, * FROM done").fetchall():
        positions = _positions(text)
        sums = sorted((p, found[p, method]) for p in positions if (p, method) in found)
        sound = not bad & {(p, m) for p in positions for m in ("", method)}
        whole = bool(positions) and {*positions} <= seen and checksum(sums) == written
        yield row, whole and sound


def _positions(text: Any) -> list[int]:
    """The examples of a group; none where the text is damaged."""
    try:
        return [int(position) for position in json.loads(text)]
    except (ValueError, TypeError):
        return []


def forget_group(part: sqlite3.Connection, number: int) -> None:
    """Undoes a group and what is said of its examples."""
    rows = part.execute("SELECT rowid, positions FROM done WHERE number = ?", (number,)).fetchall()
    for row, text in rows:
        undo(part, row)
        for position in _positions(text):
            part.execute("DELETE FROM seen WHERE position = ?", (position,))


def undo(part: sqlite3.Connection, row: int) -> None:
    """Undoes a group under one method."""
    method, text = part.execute(
        "SELECT method, positions FROM done WHERE rowid = ?", (row,)
    ).fetchone()
    part.execute("DELETE FROM done WHERE rowid = ?", (row,))
    for position in _positions(text):
        for table in ("result", "piece"):
            where = "position = ? AND method = ?"
            part.execute(f"DELETE FROM {table} WHERE {where}", (position, method))
