"""What a caller can get wrong, said in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class CallError(Exception):
    """The call can't be carried out as it is; exit code 2."""


@contextmanager
def as_call_error(prefix: str = "") -> Iterator[None]:
    """Turns the library's own checks of arguments into a `CallError`."""
    try:
        yield
    except (AssertionError, ValueError, TypeError, ImportError, OSError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise CallError(prefix + first_line) from error
