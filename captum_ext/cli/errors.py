"""What ends a command, said in one sentence."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any

from tqdm import tqdm

from captum_ext._launch import is_first, speaks_of_failure
from captum_ext._text import LINE, printable, reason, wrapped


class CallError(Exception):
    """The call can't be carried out as it is; exit code 2."""


class WorkError(Exception):
    """The call was right, but what it asks for could not be had; exit code 1."""


@contextmanager
def as_call_error(prefix: str = "") -> Iterator[None]:
    """Turns checks of arguments into a `CallError`; no work of a user's model belongs inside."""
    try:
        yield
    except (AssertionError, ValueError, TypeError, ImportError, OSError) as error:
        raise CallError(prefix + reason(error)) from error


_LONGEST = 1200


def say(sentence: str) -> None:
    """Says something that is no result, by the first process alone."""
    if is_first():
        _say(sentence)


def say_failure(sentence: str) -> None:
    """Says why the work ends, by the first process that fails."""
    if speaks_of_failure():
        _say(sentence)


def _say(sentence: str) -> None:
    one_line = printable(sentence[:_LONGEST]).replace("\n", "\\n")
    one_line += "..." * (len(sentence) > _LONGEST)
    told = f"captum-ext: {one_line}"
    if _is_terminal(sys.stderr):
        told = wrapped(told, _columns())
    # Above a bar that is at work, which comes back below.
    tqdm.write(told, file=sys.stderr)


def show(text: str) -> None:
    """Shows a result, its prose in lines that fit."""
    print(wrapped(printable(text), _columns() if _is_terminal(sys.stdout) else LINE))


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        # There is none, or it was closed.
        return False


def _columns() -> int:
    return shutil.get_terminal_size((LINE, 24)).columns


class Tolerant:
    """A stream whose failure is noted instead of raised, and that encodes every character.

    Args:
        stream: where to; None, as for a descriptor that was closed, takes nothing.

    >>> import io
    >>> out = Tolerant(io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True))
    >>> out.write("caf\\u00e9"), out.stream.buffer.getvalue()
    (4, b'caf\\\\xe9')
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.failure: Exception | None = None

    def write(self, text: str) -> int:
        """Writes what can be written; characters the stream lacks become escapes."""
        code = getattr(self.stream, "encoding", None) or "utf-8"
        self._try("write", text.encode(code, "backslashreplace").decode(code))
        return len(text)

    def flush(self) -> None:
        """Hands over what was written."""
        self._try("flush")

    def _try(self, name: str, *words: str) -> None:
        if self.stream is None or self.failure is not None:
            return
        try:
            getattr(self.stream, name)(*words)
        except (OSError, ValueError) as error:
            self.failure = error
            # What the stream still holds would fail again, and decide the exit code, when
            # the interpreter ends.
            with suppress(OSError, ValueError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.stream.fileno())
                os.close(nowhere)

    @property
    def lost(self) -> str | None:
        """Why something could not be written; a reader that went away misses nothing."""
        error = self.failure
        if error is None or isinstance(error, BrokenPipeError | ValueError):
            return None
        return getattr(error, "strerror", None) or str(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def tolerant_streams() -> Iterator[Tolerant]:
    """Within, a full, closed or narrow stdout or stderr stops nothing; gives stdout."""
    out, err = Tolerant(sys.stdout), Tolerant(sys.stderr)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield out
        finally:
            out.flush()
            err.flush()
