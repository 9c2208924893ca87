"""`ResultFolder`: a folder that knows what runs wrote into it, and touches nothing else there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MARKER = ".captum-ext.json"
_TEMPORARY = re.compile(r"\.captum-ext-[a-z0-9_]{8}\.[\w.]+")
_ABANDONED_SECONDS = 3600
_IN_USE = "in use"
"""Stands in the marker for a file whose content changes all the time: a store, the lock."""


class OtherRunError(ValueError):
    """The folder holds, or is in the hands of, another run."""


class ForeignFileError(OtherRunError):
    """A file that no run wrote has a name that the run would write."""


class ResultFolder:
    """What runs wrote into a folder, by name and content, as a marker file there says.

    A file is a run's own if the marker has its name, and its size and digest as they were
    written: what a user put there, or changed since, is never written over or removed.

    Args:
        folder: made when something is written.

    >>> import tempfile
    >>> folder = ResultFolder(Path(tempfile.mkdtemp()))
    >>> with folder.write("table.csv") as file:
    ...     _ = file.write_text("a,b")
    >>> folder.claim(["table.csv"])
    >>> _ = (folder.folder / "table.csv").write_text("mine")
    >>> folder.owns("table.csv")
    False
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def claim(self, names: Iterable[str]) -> None:
        """Checks, before any work, that files of these names may be written.

        Raises:
            ForeignFileError: if one is there that no run wrote, or that was changed since.
        """
        known = self._known()
        for name in names:
            file = self.folder / name
            if os.path.lexists(file) and not _is_own(file, known.get(name)):
                changed = "was changed since a run wrote it" if name in known else "is no run's"
                raise ForeignFileError(
                    f"{file} {changed}, and would be written over: move it away, or give "
                    "another folder."
                )

    def owns(self, name: str) -> bool:
        """Whether a run wrote the file that is there now."""
        return _is_own(self.folder / name, self._known().get(name))

    def knows(self, name: str) -> bool:
        """Whether a run wrote a file of that name, be it there or not."""
        return name in self._known()

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """A path to write to, put in the file's place, and recorded, only when all went well.

        Raises:
            ForeignFileError: as `claim`.
        """
        self.claim([name])
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / name
        with _temporary(self.folder, file.suffix) as made:
            yield made
            _flush(made)
            # Both contents are ours until the new one has its place: a kill may come between.
            self._record({name: [*([content_of(file)] if file.exists() else []), content_of(made)]})
            self.claim([name])
            os.replace(made, file)

    def remove(self, name: str) -> None:
        """Removes a file that a run wrote; leaves any other."""
        if self.owns(name):
            (self.folder / name).unlink(missing_ok=True)

    def reserve(self, names: Iterable[str]) -> None:
        """Records names of files that are about to be made and that change while they are used.

        Raises:
            ForeignFileError: if one is there already that is not so recorded.
        """
        names = [*names]
        self.claim(names)
        self.folder.mkdir(parents=True, exist_ok=True)
        known = self._known()
        if any(known.get(name) != _IN_USE for name in names):
            self._record(dict.fromkeys(names, _IN_USE))

    def adopt(self, name: str) -> None:
        """Records a file that is known to be a run's by what it holds."""
        if self._known().get(name) != _IN_USE:
            self._record({name: _IN_USE})

    def sweep(self) -> None:
        """Removes temporary files that killed runs left behind."""
        if not (self.folder / MARKER).is_file():
            return
        for file in self.folder.iterdir():
            old = time.time() - file.lstat().st_mtime > _ABANDONED_SECONDS
            if old and _TEMPORARY.fullmatch(file.name) and file.is_file():
                file.unlink(missing_ok=True)

    def _known(self) -> dict[str, Any]:
        file = self.folder / MARKER
        if not file.is_file():
            return {}
        try:
            known = json.loads(file.read_text(encoding="utf-8"))["files"]
            return dict(known)
        except (ValueError, KeyError, TypeError) as error:
            raise ForeignFileError(
                f"{file} says what runs wrote, but is damaged: remove it and the results beside "
                "it, or give another folder."
            ) from error

    def _record(self, more: Mapping[str, Any]) -> None:
        text = json.dumps(
            {"about": "what captum_ext wrote here", "files": {**self._known(), **more}}
        )
        with _temporary(self.folder, ".json") as made:
            made.write_text(text + "\n", encoding="utf-8")
            _flush(made)
            os.replace(made, self.folder / MARKER)


def _is_own(file: Path, states: Any) -> bool:
    if states is None or file.is_symlink() or not file.is_file():
        return False
    return states == _IN_USE or content_of(file) in states


def content_of(file: Path) -> dict[str, Any]:
    """A file's size and SHA-256."""
    seen = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(1 << 20):
            seen.update(part)
    return {"size": file.stat().st_size, "sha256": seen.hexdigest()}


@contextmanager
def _temporary(folder: Path, suffix: str) -> Iterator[Path]:
    """A new file beside the others, with the rights of a file that a user makes."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".captum-ext-", suffix=suffix or ".tmp")
    os.close(handle)
    file = Path(name)
    umask = os.umask(0)
    os.umask(umask)
    file.chmod(0o666 & ~umask)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def _flush(file: Path) -> None:
    """Puts a file's content on the disk, so that it is never renamed before it is whole."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
