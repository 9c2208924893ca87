"""Where results are kept as they come: SQLite files, one per process, each write whole or not."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from captum_ext.evaluation.ranks import agree, everyone, here
from captum_ext.evaluation.store_files import OtherRunError as OtherRunError

_LOCK = "run.lock"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (settings TEXT);
CREATE TABLE IF NOT EXISTS seen (
    position INTEGER PRIMARY KEY, digest TEXT, target INTEGER, prediction INTEGER,
    probability REAL, reason TEXT, picture BLOB);
CREATE TABLE IF NOT EXISTS result (
    position INTEGER, method TEXT, seconds REAL, forwards REAL, gradients REAL,
    reasons TEXT, states BLOB, picture BLOB, PRIMARY KEY (position, method));
CREATE TABLE IF NOT EXISTS done (number INTEGER, method TEXT, PRIMARY KEY (number, method));
"""
_MERGED = {"result": "position, method", "seen": "position", "done": "number, method"}


@dataclass(frozen=True)
class Seen:
    """An example as it was met; ``reason`` says why it is left out, None that it isn't."""

    position: int
    digest: str
    target: int | None
    prediction: int | None
    probability: float | None
    reason: str | None
    picture: bytes | None


@dataclass(frozen=True)
class Result:
    """What a method and all metrics gave for one example.

    Args:
        position: of the example in the data.
        method: its name.
        seconds, forwards, gradients: the cost of this example's map.
        reasons: what went wrong, as JSON: by metric, or by "" for the method itself.
        states: the metrics' readings, packed.
        picture: a small map for the report.
    """

    position: int
    method: str
    seconds: float
    forwards: float
    gradients: float
    reasons: str
    states: bytes
    picture: bytes | None


Row = TypeVar("Row", Seen, Result)


class Store:
    """The results so far: this process's, in a file of its own, beside those of others.

    Args:
        folder: None keeps results in memory.
        settings: what decides the numbers; a folder of other settings is refused.
        resume: whether to go on with what the folder holds, or to start anew.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any], resume: bool) -> None:
        self.folder = folder
        rank = here()[0]
        if folder is None:
            self.own = sqlite3.connect(":memory:")
        else:
            for file in [] if resume else self._files():
                _check_ours(file)
                file.unlink()
            self.own = _open(folder / f"part-{rank:05d}.sqlite")
        self.own.executescript(_SCHEMA)
        _same_settings(self._all("SELECT settings FROM run"), settings, folder)
        self._write([("DELETE FROM run", ()), ("INSERT INTO run VALUES (?)", (_text(settings),))])

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.sqlite")) if self.folder else []

    def _all(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Rows of all processes' files, this one's first."""
        yield from self.own.execute(query)
        for file in self._files():
            if file.name != self._own_name:
                with _reading(file) as other:
                    yield from other.execute(query)

    @property
    def _own_name(self) -> str:
        return f"part-{here()[0]:05d}.sqlite"

    def finished(self) -> set[tuple[int, str]]:
        """The groups, by number, and methods that are done, in any process's file."""
        return {(int(n), str(m)) for n, m in self._all("SELECT number, method FROM done")}

    def add(
        self, number: int, method: str, seen: Iterable[Seen] = (), results: Iterable[Result] = ()
    ) -> None:
        """Writes a finished group of a method, all or nothing.

        Raises:
            OSError: if the disk is full or can't be written.
        """
        rows = [("seen", astuple(row)) for row in seen] + [
            ("result", astuple(row)) for row in results
        ]
        commands: list[tuple[str, tuple[Any, ...]]] = [
            (f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(row))})", row)
            for table, row in rows
        ]
        commands.append(("INSERT OR REPLACE INTO done VALUES (?, ?)", (number, method)))
        self._write(commands)

    def _write(self, commands: list[tuple[str, tuple[Any, ...]]]) -> None:
        try:
            with self.own:
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

    def _rows(self, kind: type[Row], table: str) -> list[Row]:
        names = ", ".join(field.name for field in fields(kind))
        found = {row[:2] if kind is Result else row[0]: row
                 for row in self._all(f"SELECT {names} FROM {table}")}  # fmt: skip
        return [kind(*found[key]) for key in sorted(found)]

    def share(self) -> None:
        """Gives every process what it can't read from the folder, as on several machines."""
        if here()[1] == 1:
            return
        for table, key in _MERGED.items():
            mine = set(self.own.execute(f"SELECT {key} FROM {table}"))
            visible = set(self._all(f"SELECT {key} FROM {table}"))
            known = set().union(*everyone(mine))
            lacking = set().union(*everyone(known - visible)) & mine
            where = " AND ".join(f"{name} = ?" for name in key.split(", "))
            rows = [self.own.execute(f"SELECT * FROM {table} WHERE {where}", k).fetchone()
                    for k in sorted(lacking)]  # fmt: skip
            for given in everyone(rows):
                wanted = [row for row in given if row[: len(key.split(", "))] not in visible]
                marks = f"INSERT OR IGNORE INTO {table} VALUES"
                self._write([(f"{marks} ({','.join('?' * len(row))})", row) for row in wanted])

    def close(self) -> None:
        """Closes this process's file."""
        self.own.close()


@contextmanager
def opened(folder: Path | None, settings: Mapping[str, Any], resume: bool) -> Iterator[Store]:
    """A store that no other run has, in all processes or in none."""
    lock, store = None, None
    error: Exception | None = None
    try:
        if folder is not None and here()[0] == 0:
            folder.mkdir(parents=True, exist_ok=True)
            lock = _lock(folder)
    except (OSError, ValueError, sqlite3.Error) as problem:
        error = _as_error(problem, folder)
    try:
        agree(error)
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            # One after the other: starting anew removes the files of all.
            for rank in range(here()[1]):
                if rank == here()[0] and error is None:
                    store = Store(folder, settings, resume or rank > 0)
                everyone(None)
        except (OSError, ValueError, sqlite3.Error) as problem:
            error = _as_error(problem, folder)
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
    lock = sqlite3.connect(folder / _LOCK, timeout=0)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        raise OtherRunError(
            f"another run is writing to {folder}: wait for it, or give another folder."
        ) from error
    return lock


def _open(file: Path) -> sqlite3.Connection:
    _check_ours(file)
    connection = sqlite3.connect(file, timeout=60)
    # A result is on the disk before the next begins.
    connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(file.resolve().as_uri() + "?mode=ro", uri=True, timeout=60)
    try:
        yield connection
    finally:
        connection.close()


def _check_ours(file: Path) -> None:
    """Refuses to write to, or remove, a file that is damaged or not a store."""
    if not file.exists() or file.stat().st_size == 0:
        return
    try:
        connection = sqlite3.connect(file, timeout=60)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        verdict, tables = str(error), set()
    if verdict != "ok" or (tables and not {*_MERGED, "run"} <= tables):
        detail = verdict if verdict != "ok" else "it holds other tables"
        raise OtherRunError(f"{file} is no store of results, or damaged ({detail}): remove it.")


def _same_settings(
    stored: Iterable[tuple[str]], settings: Mapping[str, Any], folder: Path | None
) -> None:
    wanted = json.loads(_text(settings))
    for (text,) in stored:
        there = json.loads(text)
        differing = _difference(there, wanted)
        if differing:
            key, old, new = differing
            raise OtherRunError(
                f"{folder} holds a run with other settings: `{key}` is {_short(old)} there and "
                f"{_short(new)} here. Give another folder, or start anew (`resume=False`, on the "
                "command line --restart)."
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


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 90 else text[:87] + "..."
