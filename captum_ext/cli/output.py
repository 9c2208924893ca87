"""Files the command writes: whole or not at all, and never over a file that is not its own."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

from captum_ext._progress import Work
from captum_ext._text import printable, reason
from captum_ext.cli.errors import CallError, WorkError, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = (".png", ".pdf", ".svg", ".jpg")
ANIMATION = ".gif"
PAGE = ".html"
MARK = "written by captum_ext"
"""What every file of the command holds, near its beginning or its end."""
# A PDF says who made it at its end, before a table of 20 bytes for each of its objects.
_SEARCHED = 1 << 16
_PACE = 10.0
"""Seconds between the lines of a run's progress in a file."""


def path(text: str) -> Path:
    """A path as typed, for argparse; one that no file can have is refused.

    >>> path("a.png").name
    'a.png'
    """
    if not text:
        raise argparse.ArgumentTypeError("a path is not empty")
    try:
        os.stat(text)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        detail = getattr(error, "strerror", None) or str(error)
        raise argparse.ArgumentTypeError(f"{text[:80]!r} can't be used: {detail}") from None
    return Path(text)


def is_ours(file: Path) -> bool:
    """Whether a file's content says that the command wrote it."""
    try:
        with file.open("rb") as stream:
            head = stream.read(_SEARCHED)
            stream.seek(max(0, file.stat().st_size - _SEARCHED))
            return MARK.encode() in head or MARK.encode() in stream.read(_SEARCHED)
    except OSError:
        return False


def check_outputs(
    files: Mapping[str, Path | None],
    inputs: Iterable[Path | None],
    overwrite: bool,
    more: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Raises CallError unless every output can be written without harm.

    Args:
        files: by option; JSON for ``--json``, pictures for all others.
        inputs: files and folders that the command reads.
        overwrite: whether existing files of others may be replaced, but never an input.
        more: by option a suffix beside those of pictures.
    """
    taken: dict[str, str] = {}
    known = [source for source in inputs if source is not None]
    for option, file in files.items():
        if file is None:
            continue
        suffixes = (".json",) if option == "--json" else PICTURES
        _check_place(option, file, (*suffixes, *filter(None, [more.get(option)])))
        # Of one name in the eyes of some file systems.
        name = str(file.resolve()).casefold()
        if name in taken:
            raise CallError(f"{option} would overwrite {file}, which is also {taken[name]}.")
        taken[name] = option
        if file.exists():
            _check_existing(option, file, known, overwrite)


def _check_place(option: str, file: Path, suffixes: tuple[str, ...]) -> None:
    if file.suffix.lower() not in suffixes:
        raise CallError(f"{option} ends in one of {', '.join(suffixes)}, but got {file}.")
    _require_no_dead_link(option, file, "another file")
    folder = file.resolve().parent
    if (file.exists() and not file.is_file()) or not folder.is_dir():
        raise CallError(f"{option} is a file in an existing folder, but got {file}.")
    _require_writable(f"{option} is in a folder", folder, file)


def check_folder(option: str, folder: Path) -> None:
    """Raises CallError unless a folder is there, or can be made, to write into."""
    _require_no_dead_link(option, folder, "another")
    if folder.exists() and not folder.is_dir():
        raise CallError(f"{option} is a folder, but {folder} is a file.")
    nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    _require_writable(f"{option} is a folder", nearest, folder)


def _require_no_dead_link(option: str, place: Path, other: str) -> None:
    if os.path.lexists(place) and not place.exists():
        raise CallError(f"{option} is a link to nothing: {place}. Remove it, or name {other}.")


def _require_writable(what: str, folder: Path, given: Path) -> None:
    try:
        # Permissions alone don't say it: a file system may be read-only or full of names.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise CallError(
            f"{what} that can be written to, but got {given}: {error.strerror}."
        ) from error


def maps_file(folder: Path, method: str) -> Path:
    """Where a method's maps are kept.

    >>> maps_file(Path("maps"), "mine.py:net").name
    'mine.py_net.npz'
    """
    return folder / (re.sub(r"[^\w.+-]", "_", method) + ".npz")


def check_maps(
    folder: Path, methods: Iterable[str], inputs: Iterable[Path], overwrite: bool = False
) -> None:
    """Raises CallError unless the maps of methods can be kept in a folder without harm."""
    check_folder("--save-maps", folder)
    taken: dict[str, str] = {}
    for method in methods:
        file = maps_file(folder, method)
        other = taken.setdefault(file.name.casefold(), method)
        if other != method:
            raise CallError(f"--save-maps would write {file} for both {other} and {method}.")
        if file.exists():
            _check_existing("--save-maps", file, [*inputs], overwrite)


def _check_existing(option: str, file: Path, inputs: list[Path], overwrite: bool) -> None:
    for source in inputs:
        if source.is_file() and os.path.samefile(file, source):
            raise CallError(f"{option} would overwrite {file}, which is also another argument.")
        if source.is_dir() and not is_ours(file) and _holds(source, file):
            raise CallError(f"{option} would overwrite {file}, which is among those of {source}.")
    if not overwrite and not is_ours(file):
        raise CallError(
            f"{option} would overwrite {file}, which captum-ext did not write: name another file, "
            "or add --overwrite."
        )


def _holds(folder: Path, file: Path) -> bool:
    """Whether a folder holds the file, by whatever name or link."""
    if folder.resolve() in file.resolve().parents:
        return True
    return any(p.is_file() and os.path.samefile(p, file) for p in folder.rglob("*"))


def write_figure(figure: Figure, file: Path, dpi: int = 110) -> None:
    """Writes a figure that says who wrote it."""
    jpeg = file.suffix.lower() == ".jpg"
    said: Any = {"pil_kwargs": {"comment": MARK}} if jpeg else {"metadata": {"Creator": MARK}}
    with whole_file(file) as temporary:
        figure.savefig(temporary, dpi=dpi, format=file.suffix[1:].lower(), **said)


def write_json(report: Mapping[str, Any], file: Path) -> None:
    """Writes a report that says who wrote it."""
    # With torch: not before there is a result to write.
    from captum_ext.evaluation.export import plain

    held = plain({"captum_ext": MARK, **report})
    text = json.dumps(held, indent=1, default=str, allow_nan=False)
    with whole_file(file) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """A path to write to, put in the file's place only when all went well."""
    # Where the file is a link, what it leads to is replaced, and the link stays.
    place = file.resolve()
    # Not named as a picture: what a killed command leaves behind must not become an input.
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=".captum-ext-", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)


def finish(text: str, writers: Mapping[Path, Callable[[], Any]]) -> None:
    """Writes every file, then shows the text: one that can't be written costs no other.

    Raises:
        WorkError: at the end, if a file could not be written.
    """
    lost, written = [], []
    for file, write in writers.items():
        try:
            write()
        except Exception as error:
            lost.append(f"{file} can't be written: {reason(error)}")
        else:
            written.append(f"wrote {file}")
    show("\n".join([text, *written]))
    if lost:
        raise WorkError("; ".join(lost))


class Progress:
    """How many maps of all images are made; silent in all processes but the first.

    Args:
        silent: shows nothing.
        labels: how methods are shown, by name.
    """

    def __init__(self, silent: bool = False, labels: Mapping[str, str] | None = None) -> None:
        self.work: Work | None = None
        self.silent, self.labels = silent, labels or {}

    def __call__(self, name: str, done: int, total: int) -> None:
        """Shows what begins, and how many maps are done of how many."""
        if self.work is None:
            self.work = Work(total, "map", done=done, shown=not self.silent, pace=_PACE)
        self.work.update(done - self.work.done)
        self.work.begin(self.labels.get(name, name))

    def close(self) -> None:
        """Removes the bar."""
        if self.work is not None:
            self.work.close()


@overload
def shown(path: str | Path) -> str: ...
@overload
def shown(path: None) -> None: ...
def shown(path: str | Path | None) -> str | None:
    """A path as it was typed; an absolute one by its last part.

    >>> shown("photos/a.png"), shown("/home/me/photos/"), shown("/home/me/net.py:factory")
    ('photos/a.png', 'photos', 'net.py:factory')
    """
    if path is None:
        return None
    text = str(path)
    return printable(PurePath(text).name if os.path.isabs(text) else text)


def shown_command(line: str) -> str:
    """A command whose absolute paths are shown by their last parts.

    >>> shown_command("evaluate '/my data/x' --out=/tmp/o --limit 3")
    'evaluate x --out=o --limit 3'
    """
    words = []
    for word in shlex.split(line):
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        words.append(f"{option}{equals}{shown(value)}" if equals else shown(word))
    return shlex.join(words)
