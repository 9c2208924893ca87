"""Where results are kept as they come: SQLite files, one per process, each write whole or not."""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from captum_ext.evaluation.processes import agree, gather, rank_and_size
from captum_ext.evaluation.store.about import About, check_same
from captum_ext.evaluation.store.folder import OtherRunError, ResultFolder
from captum_ext.evaluation.store.part import (
    BESIDE,
    MERGED,
    connect,
    connected,
    create,
    damage_of,
    forget_group,
    has_results,
    run_of,
    set_aside,
    tables_of,
    transaction,
    undo,
    units_of,
)
from captum_ext.evaluation.store.rows import (
    Piece,
    Result,
    Row,
    Seen,
    as_object,
    checksum,
    is_sound,
    summed,
)

_LOCK = "run.lock"
_PART = re.compile(r"part-\d{5}\.sqlite")


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
            self.own = connect(":memory:")
        else:
            self._take_over(about, resume, session)
            files = ResultFolder(folder)
            if not files.knows(self._own_name):
                # SQLite would take for its own what lies beside.
                files.claim([self._own_name + ending for ending in BESIDE])
            files.reserve([self._own_name])
            self.own = connect(folder / self._own_name)
        create(self.own, about, session)

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
        damage = {file: damage_of(file, folder) for file in self._parts()}
        runs = {file: run_of(file) for file, found in damage.items() if found is None}
        earlier = [f for f, run in runs.items() if run is None or run.session != session]
        going_on = resume and any(has_results(file) for file in earlier)
        for run in runs.values():
            if run is not None and (going_on or run.session == session):
                check_same(run, about, self.folder, session)
        for file, found in damage.items():
            if found is not None:
                kept = set_aside(file)
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
        with connected(file) as part:
            if not tables_of(part):
                return
            bad = [row for row, good in units_of(part) if not good]
            with transaction(part):
                for row in bad:
                    undo(part, row)
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
                with connected(file) as other:
                    if tables_of(other):
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
            with connected(file) as part, transaction(part):
                for number in chosen if tables_of(part) else []:
                    forget_group(part, number)

    def add(
        self, number: int, method: str, seen: Iterable[Seen] = (), results: Iterable[Result] = (),
        pieces: Iterable[Piece] = (),
    ) -> None:  # fmt: skip
        """Writes a finished group of a method, all or nothing.

        Raises:
            OSError: if the disk is full or can't be written.
        """
        examples = [summed(astuple(row)) for row in seen]
        found = [summed(astuple(row)) for row in results]
        positions = json.dumps([row[0] for row in examples])
        unit = (number, method, positions, checksum(sorted((r[0], r[-1]) for r in found)))
        rows = [("seen", r) for r in examples] + [("result", r) for r in found] + [("done", unit)]
        rows += [("piece", summed(astuple(row))) for row in pieces]
        self._write([
            (f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(row))})", row)
            for table, row in rows
        ])  # fmt: skip

    def _write(self, commands: list[tuple[str, tuple[Any, ...]]]) -> None:
        try:
            with transaction(self.own):
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
        rows = (row for row in self._all(f"SELECT * FROM {table}") if is_sound(row))
        found = {row[: len(MERGED[table])]: row[:-1] for row in rows}
        return [as_object(kind, found[key]) for key in sorted(found)]

    def share(self) -> None:
        """Gives every process what it can't read from the folder, as on several machines."""
        if rank_and_size()[1] == 1:
            return
        for table, key in MERGED.items():
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
