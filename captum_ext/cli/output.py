"""Files the command writes: whole or not at all, and never over the user's image."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from captum_ext.cli.errors import CallError


def check_output(option: str, file: Path, inputs: list[Path], suffixes: tuple[str, ...]) -> None:
    """Raises CallError unless the file can be written without harm."""
    if file.suffix.lower() not in suffixes:
        raise CallError(f"{option} ends in one of {', '.join(suffixes)}, but got {file}.")
    if file.is_dir() or not file.parent.is_dir():
        raise CallError(f"{option} is a file in an existing folder, but got {file}.")
    if not os.access(file.parent, os.W_OK):
        raise CallError(f"{option} is in a folder that can be written to, but got {file}.")
    if any(file.resolve() == other.resolve() for other in inputs):
        raise CallError(f"{option} would overwrite {file}, which is also another argument.")


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """A path to write to, put in the file's place only when all went well."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".captum-ext-", suffix=file.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
