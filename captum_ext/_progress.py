"""What a long work has done, of how much: a bar on a terminal, lines in a file."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

from captum_ext._text import number_of, printable, shortened

_LABEL = 24
"""Letters of what is at hand: the rest of 80 is for counts."""
_FORMAT = "{desc} |{bar}| {n_fmt} of {unit}, {remaining} left{postfix}"
_ENDLESS = "{desc}: {unit} in {elapsed}{postfix}"
_BLINK = 0.1
_LINE = 30.0
"""Seconds between two lines on the same matter."""


def _moves() -> bool:
    """Whether what is shown can be shown anew: on a terminal and in a notebook."""
    try:
        return "ipykernel" in sys.modules or sys.stderr.isatty()
    except (AttributeError, ValueError):
        # There is none, or it was closed.
        return False


class Work:
    """A long work: one bar that goes away on a terminal, whole lines where none moves.

    Args:
        total: how many there are to do; 0 if that is not known.
        unit: what is counted, one of it.
        label: what is at hand.
        done: how many were done before.
        shown: whether anything is shown.
        pace: seconds that lie between two lines of a file, at least.

    >>> with Work(2, "map", shown=False) as work:
    ...     work.begin("IG")
    ...     work.update()
    >>> work.done
    1
    """

    def __init__(
        self,
        total: int,
        unit: str,
        label: str = "",
        done: int = 0,
        shown: bool = True,
        pace: float = 0.0,
    ) -> None:
        self.total, self.unit, self.label, self.done = total, unit, label, done
        self.aside, self.pace, self._begun_with = "", pace, done
        self._start = time.monotonic()
        self._next = self._start
        self._writes = shown and not _moves()
        self._bar: tqdm[None] | None = None
        if shown and not self._writes:
            self._bar = tqdm(
                total=total or None, initial=done, unit=self._amount(), desc=self._short(),
                bar_format=_FORMAT if total else _ENDLESS, mininterval=_BLINK, miniters=0,
                smoothing=0, dynamic_ncols=True, leave=False,
            )  # fmt: skip
        elif label:
            self.begin(label)

    def begin(self, label: str) -> None:
        """Says what is at hand now."""
        self.label, self.aside = label, ""
        if self._bar is not None:
            self._bar.set_postfix_str("", refresh=False)
            self._bar.set_description_str(self._short())
        elif self._writes and time.monotonic() >= self._next:
            self._next = time.monotonic() + self.pace
            self._write()

    def expect(self, total: int) -> None:
        """Says how many there are to do, where that was not known."""
        self.total = total
        if self._bar is not None:
            self._bar.total, self._bar.bar_format = total, _FORMAT
            self._bar.unit = self._amount()
            self._bar.refresh()

    def update(self, n: int = 1) -> None:
        """So many more are done."""
        self.done += n
        if self._bar is not None:
            self._bar.unit = self._amount()
            self._bar.update(n)
        elif self._writes and time.monotonic() >= max(self._next, self._start + _LINE):
            self._next = time.monotonic() + _LINE
            self._write()

    def tell(self, aside: str) -> None:
        """Something beside the count, such as how far the one at hand has come."""
        self.aside = aside
        if self._bar is not None:
            self._bar.set_postfix_str(aside, refresh=False)
            self._bar.update(0)

    def close(self) -> None:
        """Takes the bar away, or writes the last line."""
        if self._bar is not None:
            self._bar.close()
        elif self._writes:
            self._write(f"{time.monotonic() - self._start:.1f} s")
        self._bar, self._writes = None, False

    def _short(self) -> str:
        return shortened(printable(self.label), _LABEL)

    def _amount(self) -> str:
        """What there is to do, or where that is not known, what is done."""
        return number_of(self.total or self.done, self.unit)

    def _write(self, end: str = "") -> None:
        of = f"{self.done} of " if self.total else ""
        parts = [f"{of}{self._amount()}", self.aside, end or self._left()]
        print(f"{printable(self.label)}: {', '.join(filter(None, parts))}", file=sys.stderr)

    def _left(self) -> str:
        gone = self.done - self._begun_with
        if not gone or not self.total:
            return ""
        each = (time.monotonic() - self._start) / gone
        return f"{tqdm.format_interval(each * (self.total - self.done))} left"

    def __enter__(self) -> Work:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
