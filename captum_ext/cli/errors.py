"""What ends a command, said in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from captum_ext._text import reason


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
