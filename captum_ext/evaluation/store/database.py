"""Where results are kept as they come: SQLite files, one per process, each write whole or not."""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from captum_ext.evaluation.processes import agree, gather, rank_and_size
from captum_ext.evaluation.store.folder import (
    ForeignFileError,
    OtherRunError as OtherRunError,
    ResultFolder,
)

_LOCK = "run.lock"
_PART = re.compile(r"part-\d{5}\.sqlite")
_BESIDE = ("-journal", "-wal", "-shm")
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
_MERGED = {"result": ("position", "method"), "seen": ("position",), "done": ("number", "method"),
           "piece": ("position", "method")}  # fmt: skip


@dataclass(frozen=True)
class About:
    """What a run is.

    Args:
        shown: the settings in few words, for people.
        content: all that decides the numbers, by content, for comparing; both as JSON can hold.
        unknown: what decides them but has no content that could be compared, by its place.
    """

    shown: dict[str, Any] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """An example as it was met.

    ``reason`` says why it is left out, None that it isn't; ``labeled`` how many classes its data
    has, of which 0 leaves it to the model's prediction. Of several classes that are explained
    ``target`` and ``probability`` are lists, as JSON; ``one_region`` says whether one annotated
    region stands for all of them.
    """

    position: int
    digest: str
    target: int | str | None
    prediction: int | None
    probability: float | str | None
    reason: str | None
    picture: bytes | None
    labeled: int = 1
    one_region: int = 0

    @property
    def pairs(self) -> list[tuple[int | None, float | None]]:
        """The classes that are explained, each with its probability."""
        if not isinstance(self.target, str):
            assert not isinstance(self.probability, str), "a list beside one class"
            return [(self.target, self.probability)]
        return [*zip(json.loads(self.target), json.loads(str(self.probability)), strict=True)]


@dataclass(frozen=True)
class Result:
    """What a method and all metrics gave for one example.

    Args:
        position: of the example in the data.
        method: its name.
        seconds, forwards, gradients: the cost of this example's map, nan where not known.
        reasons: what went wrong, as JSON: by metric, or by "" for the method itself.
        states: the metrics' readings, packed.
        picture: a small map for the report, or those of several classes strung together.
    """

    position: int
    method: str
    seconds: float
    forwards: float
    gradients: float
    reasons: str
    states: bytes
    picture: bytes | None


@dataclass(frozen=True)
class Piece:
    """What the report's own page of an image needs of the image, or of a method's map of it.

    Args:
        position: of the example in the data.
        method: its name; "" for the image.
        score: by which images are chosen, of a map.
        held: as JSON.
    """

    position: int
    method: str
    score: float | None
    held: str


Row = TypeVar("Row", Seen, Result, Piece)


class Store:
    """The results so far: this process's, in a file of its own, beside those of others.

    Args:
        folder: None keeps results in memory.
        about: what decides the numbers; a folder of another run is refused.
        resume: whether to go on with what the folder holds, or to start anew.
        session: the same in all processes of this start, and in no other.
    """

    def __init__(self, folder: Path | None, about: About, resume: bool, session: str) -> None:
        self.folder = folder
        self.remarks: list[str] = []
        """What was found damaged, and is computed again."""
        if folder is None:
            self.own = _connect(":memory:")
        else:
            self._take_over(about, resume, session)
            files = ResultFolder(folder)
            if not files.knows(self._own_name):
                # SQLite would take for its own what lies beside.
                files.claim([self._own_name + ending for ending in _BESIDE])
            files.reserve([self._own_name])
            self.own = _connect(folder / self._own_name)
        _create(self.own, about, session)

    @property
    def _own_name(self) -> str:
        return f"part-{rank_and_size()[0]:05d}.sqlite"

    def _parts(self) -> list[Path]:
        if self.folder is None or not self.folder.is_dir():
            return []
        return sorted(p for p in self.folder.iterdir() if _PART.fullmatch(p.name))

    def _take_over(self, about: About, resume: bool, session: str) -> None:
        """Puts the files of earlier starts in order; nothing is changed before all are looked at.

        Raises:
            OtherRunError: if one is no store, or of another run that is to be resumed.
        """
        assert self.folder is not None
        folder = ResultFolder(self.folder)
        damage = {file: _damage(file, folder) for file in self._parts()}
        runs = {file: _run_of(file) for file, found in damage.items() if found is None}
        earlier = [f for f, run in runs.items() if run is None or run.session != session]
        going_on = resume and any(_has_results(file) for file in earlier)
        for run in runs.values():
            if run is not None and (going_on or run.session == session):
                _check_same(run, about, self.folder, session)
        for file, found in damage.items():
            if found is not None:
                kept = _set_aside(file)
                self.remarks.append(
                    f"{file} is damaged ({found}): it is kept as {kept.name}, and what it held is "
                    "computed again."
                )
        for file in earlier:
            folder.adopt(file.name)
            if going_on:
                self._mend(file, session)
            else:
                file.unlink()

    def _mend(self, file: Path, session: str) -> None:
        """Forgets what is damaged in a file, so that it is computed again."""
        with _connected(file) as part:
            if not _tables(part):
                return
            bad = [row for row, good in _units(part) if not good]
            with _transaction(part):
                for row in bad:
                    _undo(part, row)
                part.execute("UPDATE run SET session = ?", (session,))
        if bad:
            self.remarks.append(
                f"{file} is damaged in {len(bad)} result(s), as their checksums say: they are "
                "computed again."
            )

    def _all(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Rows of all processes' files, this one's first."""
        yield from self.own.execute(query)
        for file in self._parts():
            if file.name != self._own_name:
                with _connected(file) as other:
                    if _tables(other):
                        yield from other.execute(query)

    def finished(self) -> set[tuple[int, str]]:
        """The groups, by number, and methods that are done, in any process's file."""
        return {(int(n), str(m)) for n, m in self._all("SELECT number, method FROM done")}

    def known(self) -> dict[int, dict[str, str]]:
        """What the examples that were met are by content, by position."""
        return {int(p): json.loads(d) for p, d in self._all("SELECT position, digest FROM seen")}

    def forget(self, numbers: Iterable[int]) -> None:
        """Undoes groups, in the files of all processes."""
        chosen = [*numbers]
        for file in self._parts() if chosen else []:
            with _connected(file) as part, _transaction(part):
                for number in chosen if _tables(part) else []:
                    _forget(part, number)

    def add(
        self, number: int, method: str, seen: Iterable[Seen] = (), results: Iterable[Result] = (),
        pieces: Iterable[Piece] = (),
    ) -> None:  # fmt: skip
        """Writes a finished group of a method, all or nothing.

        Raises:
            OSError: if the disk is full or can't be written.
        """
        examples = [_summed(astuple(row)) for row in seen]
        found = [_summed(astuple(row)) for row in results]
        positions = json.dumps([row[0] for row in examples])
        unit = (number, method, positions, _checksum(sorted((r[0], r[-1]) for r in found)))
        rows = [("seen", r) for r in examples] + [("result", r) for r in found] + [("done", unit)]
        rows += [("piece", _summed(astuple(row))) for row in pieces]
        self._write([
            (f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(row))})", row)
            for table, row in rows
        ])  # fmt: skip

    def _write(self, commands: list[tuple[str, tuple[Any, ...]]]) -> None:
        try:
            with _transaction(self.own):
                for command, values in commands:
                    self.own.execute(command, values)
        except sqlite3.Error as error:
            raise OSError(
                f"a result can't be written to {self.folder} ({error}): free some space and run "
                "the same command again; what was written before is kept."
            ) from error

    def seen(self) -> list[Seen]:
        """All examples by position."""
        return self._rows(Seen, "seen")

    def results(self) -> list[Result]:
        """All results by position and method."""
        return self._rows(Result, "result")

    def pieces(self) -> list[Piece]:
        """All pieces that are left, by position and method."""
        return self._rows(Piece, "piece")

    def piece_scores(self) -> dict[tuple[int, str], float | None]:
        """The scores of this process's pieces, by position and method."""
        query = "SELECT position, method, score FROM piece"
        return {(int(p), str(m)): score for p, m, score in self.own.execute(query)}

    def thin(self, positions: Iterable[int]) -> None:
        """Drops this process's pieces of these images."""
        if rows := [(position,) for position in positions]:
            self._write([("DELETE FROM piece WHERE position = ?", row) for row in rows])

    def _rows(self, kind: type[Row], table: str) -> list[Row]:
        rows = (row for row in self._all(f"SELECT * FROM {table}") if _is_sound(row))
        found = {row[: len(_MERGED[table])]: row[:-1] for row in rows}
        return [_made(kind, found[key]) for key in sorted(found)]

    def share(self) -> None:
        """Gives every process what it can't read from the folder, as on several machines."""
        if rank_and_size()[1] == 1:
            return
        for table, key in _MERGED.items():
            names, n = ", ".join(key), len(key)
            mine = set(self.own.execute(f"SELECT {names} FROM {table}"))
            visible = set(self._all(f"SELECT {names} FROM {table}"))
            known = set().union(*gather(mine))
            lacking = set().union(*gather(known - visible)) & mine
            where = " AND ".join(f"{name} = ?" for name in key)
            rows = [self.own.execute(f"SELECT * FROM {table} WHERE {where}", k).fetchone()
                    for k in sorted(lacking)]  # fmt: skip
            for given in gather(rows):
                wanted = [row for row in given if row[:n] not in visible]
                marks = f"INSERT OR IGNORE INTO {table} VALUES"
                self._write([(f"{marks} ({','.join('?' * len(row))})", row) for row in wanted])

    def close(self) -> None:
        """Closes this process's file."""
        self.own.close()


def _made(kind: type[Row], row: tuple[Any, ...]) -> Row:
    """A row as an object; SQLite keeps nan as NULL."""
    given: Any = {field.name: value for field, value in zip(fields(kind), row, strict=True)}
    for cost in ("seconds", "forwards", "gradients"):
        if cost in given and given[cost] is None:
            given[cost] = float("nan")
    return kind(**given)


@contextmanager
def opened(folder: Path | None, about: About, resume: bool) -> Iterator[Store]:
    """A store that no other run has, in all processes or in none."""
    session = gather(uuid.uuid4().hex)[0]
    lock, store = None, None
    error: Exception | None = None
    try:
        if folder is not None and rank_and_size()[0] == 0:
            lock = _lock(folder)
            ResultFolder(folder).sweep()
    except (OSError, ValueError, sqlite3.Error) as problem:
        error = _as_error(problem, folder)
    try:
        agree(error)
        # One after the other: each puts files of earlier starts in order.
        for rank in range(rank_and_size()[1]):
            if rank == rank_and_size()[0]:
                try:
                    store = Store(folder, about, resume, session)
                except (OSError, ValueError, sqlite3.Error) as problem:
                    error = _as_error(problem, folder)
            gather(None)
        agree(error)
        assert store is not None
        yield store
    finally:
        if store is not None:
            store.close()
        if lock is not None:
            lock.close()


def _as_error(problem: Exception, folder: Path | None) -> Exception:
    if isinstance(problem, sqlite3.Error):
        return OSError(f"{folder} can't be used for results: {problem}.")
    return problem


def _lock(folder: Path) -> sqlite3.Connection:
    """A lock that the operating system lifts when the process ends, however it ends."""
    ResultFolder(folder).reserve([_LOCK])
    lock = sqlite3.connect(folder / _LOCK, timeout=0)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        lock.close()
        if "locked" not in str(error):
            raise OSError(f"{folder / _LOCK} can't be locked: {error}.") from error
        raise OtherRunError(
            f"another run is writing to {folder}: wait for it, or give another folder."
        ) from error
    return lock


def _connect(file: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=60, isolation_level=None)
    # A result is on the disk before the next begins.
    connection.execute("PRAGMA synchronous = FULL")
    # A flipped bit must not end the reading: the checksum tells.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


@contextmanager
def _connected(file: Path) -> Iterator[sqlite3.Connection]:
    """A part, open for writing: what a killed process left half written is rolled back."""
    connection = _connect(file)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _create(connection: sqlite3.Connection, about: About, session: str) -> None:
    """All tables in one transaction: a file has them all, or none."""
    if _tables(connection):
        return
    with _transaction(connection):
        for command in _SCHEMA:
            connection.execute(command)
        texts = (_text(about.content), _text(about.unknown))
        connection.execute(
            "INSERT INTO run VALUES (?, ?, ?, ?)", (*texts, session, _checksum(texts))
        )


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }


def _damage(file: Path, folder: ResultFolder) -> str | None:
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
        with _connected(file) as part:
            (verdict,) = part.execute("PRAGMA quick_check(1)").fetchone()
            tables = _tables(part)
            runs = part.execute("SELECT * FROM run").fetchall() if "run" in tables else []
    except sqlite3.OperationalError as error:
        raise OSError(f"{file} can't be read: {error}.") from error
    except sqlite3.DatabaseError as error:
        return str(error)
    if verdict != "ok":
        return str(verdict).splitlines()[-1]
    # Earlier releases had fewer; their runs are told by what they hold.
    if tables and not {"run", "seen", "result", "done"} <= tables <= {"run", *_MERGED}:
        raise ForeignFileError(
            f"{file} is no store of results, as it holds other tables: move it away, or give "
            "another folder."
        )
    if tables and [_checksum(run[:2]) for run in runs] != [run[3] for run in runs[:1]]:
        return "what it says of its run is not what was written"
    return None


def _set_aside(file: Path) -> Path:
    """Renames a damaged part, and what SQLite would take for its own beside it."""
    number = next(n for n in range(1, 10**6) if not Path(f"{file}.damaged-{n}").exists())
    for ending in _BESIDE:
        beside = Path(f"{file}{ending}")
        if beside.exists():
            beside.rename(f"{file}.damaged-{number}{ending}")
    return file.rename(f"{file}.damaged-{number}")


@dataclass(frozen=True)
class _Run:
    content: dict[str, Any]
    unknown: dict[str, str]
    session: str


def _run_of(file: Path) -> _Run | None:
    with _connected(file) as part:
        if not _tables(part):
            return None
        content, unknown, session = part.execute(
            "SELECT content, unknown, session FROM run"
        ).fetchone()
    return _Run(json.loads(content), json.loads(unknown), session)


def _has_results(file: Path) -> bool:
    with _connected(file) as part:
        return bool(_tables(part)) and part.execute("SELECT 1 FROM done").fetchone() is not None


def _units(part: sqlite3.Connection) -> Iterator[tuple[int, bool]]:
    """The row of every finished group and method, and whether all of it is as it was written."""
    seen = {row[0] for row in part.execute("SELECT * FROM seen") if _is_sound(row)}
    found = {row[:2]: row[-1] if _is_sound(row) else None
             for row in part.execute("SELECT * FROM result")}  # fmt: skip
    bad = {row[:2] for row in part.execute("SELECT * FROM piece") if not _is_sound(row)}
    for row, _, method, text, checksum in part.execute("SELECT rowid, * FROM done").fetchall():
        positions = _positions(text)
        sums = sorted((p, found[p, method]) for p in positions if (p, method) in found)
        sound = not bad & {(p, m) for p in positions for m in ("", method)}
        whole = bool(positions) and {*positions} <= seen and _checksum(sums) == checksum
        yield row, whole and sound


def _positions(text: Any) -> list[int]:
    """The examples of a group; none where the text is damaged."""
    try:
        return [int(position) for position in json.loads(text)]
    except (ValueError, TypeError):
        return []


def _forget(part: sqlite3.Connection, number: int) -> None:
    """Undoes a group and what is said of its examples."""
    rows = part.execute("SELECT rowid, positions FROM done WHERE number = ?", (number,)).fetchall()
    for row, text in rows:
        _undo(part, row)
        for position in _positions(text):
            part.execute("DELETE FROM seen WHERE position = ?", (position,))


def _undo(part: sqlite3.Connection, row: int) -> None:
    """Undoes a group under one method."""
    method, text = part.execute(
        "SELECT method, positions FROM done WHERE rowid = ?", (row,)
    ).fetchone()
    part.execute("DELETE FROM done WHERE rowid = ?", (row,))
    for position in _positions(text):
        for table in ("result", "piece"):
            where = "position = ? AND method = ?"
            part.execute(f"DELETE FROM {table} WHERE {where}", (position, method))


def _summed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row as SQLite will give it back, with a checksum."""
    plain = (int(v) if isinstance(v, bool) else v for v in row)
    kept = tuple(None if isinstance(v, float) and v != v else v for v in plain)
    return (*kept, _checksum(kept))


def _is_sound(row: tuple[Any, ...]) -> bool:
    return _checksum(row[:-1]) == row[-1]


def _checksum(values: Iterable[Any]) -> int:
    total = 0
    for value in values:
        total = zlib.crc32(value if isinstance(value, bytes) else repr(value).encode(), total)
    return total


def _check_same(run: _Run, about: About, folder: Path, session: str) -> None:
    wanted = json.loads(_text(about.content))
    anew = "start anew (`resume=False`, on the command line --restart)"
    differing = _difference(run.content, wanted)
    if differing:
        key, old, new = differing
        raise OtherRunError(
            f"{folder} holds a run with other settings: `{key}` is {_short(old)} there and "
            f"{_short(new)} here. Give another folder, or {anew}."
        )
    unknown = {**run.unknown, **about.unknown}
    if unknown and run.session != session:
        place, what = next(iter(unknown.items()))
        raise OtherRunError(
            f"{folder} holds a run that can't be proved to be the same: `{place}` is {what}. Give "
            f"another folder, or {anew}."
        )


def _difference(old: Any, new: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """The first setting that differs: its place, and both values."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return None if old == new else (path, old, new)
    # What is plainly said first: a seed before all that follows from it.
    for key in sorted({**old, **new}, key=lambda key: isinstance(new.get(key), dict)):
        inner = f"{path}.{key}" if path else key
        found = _difference(old.get(key), new.get(key), inner)
        if found:
            return found
    return None


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 90 else text[:87] + "..."
