"""Text that is shown: names and errors that others wrote, and lines of tables."""

from __future__ import annotations

import textwrap
import traceback
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path
from typing import TypeVar

# Control characters move a terminal's cursor, separators and direction marks reorder lines, and
# lone surrogates (names of files that are no UTF-8) can't be encoded.
_HIDDEN = {"Cc", "Cs", "Zl", "Zp"}
_DIRECTIONS = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
_SPEAKS_FOR_ITSELF = (AssertionError, OSError, RuntimeError, TypeError, ValueError)
_LONGEST = 600
LINE = 80
"""Letters of a line: every terminal has as many."""
_T = TypeVar("_T")


def printable(text: str) -> str:
    r"""A text in which what is not to be seen is escaped; tabs and line ends stay.

    >>> printable("a\x1b[31m\udcff\n")
    'a\\x1b[31m\\udcff\n'
    """
    return "".join(_shown(c) for c in text)


def _shown(character: str) -> str:
    hidden = unicodedata.category(character) in _HIDDEN or character in _DIRECTIONS
    if not hidden or character in "\n\t":
        return character
    return character.encode("unicode_escape").decode("ascii")


def reason(error: BaseException, named: bool = False) -> str:
    """An error in one line that is never empty: without a message, its type and place.

    Args:
        error: what went wrong.
        named: whether to name the type of every error, not only of those that need it.

    >>> reason(ValueError("no\\nand more")), reason(KeyError("a"))
    ('no', "KeyError: 'a'")
    >>> reason(ValueError())
    'ValueError without a message'
    """
    kind = type(error).__name__
    lines = (line.strip() for line in str(error).splitlines())
    line = next((line for line in lines if line), "")
    if not line:
        return f"{kind} without a message{_place(error)}"
    told = line if isinstance(error, _SPEAKS_FOR_ITSELF) and not named else f"{kind}: {line}"
    return told if len(told) <= _LONGEST else f"{told[:_LONGEST]}..."


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    last = frames[-1]
    return f" ({Path(last.filename).name}, line {last.lineno}, in {last.name})"


def pictured(text: str, longest: int = 48) -> str:
    r"""A text as matplotlib shows it letter by letter: one line, no formula, and not too long.

    >>> pictured("a$b$\n_c"), pictured("x" * 100, 5)
    ('a\\$b\\$ _c', 'xxxx…')
    >>> pictured("_hidden from legends").startswith("_")
    False
    """
    line = " ".join(printable(text).split())
    if len(line) > longest:
        line = f"{line[: longest - 1]}…"
    # Two dollars make a formula, and a legend leaves out what begins with an underscore.
    line = line.replace("$", r"\$")
    return f"\u200a{line}" if line.startswith("_") else line


def number(value: float | None) -> str:
    """A score as tables show it.

    >>> number(0.12345), number(float("nan")), number(None)
    ('0.123', '-', '-')
    """
    return "-" if value is None or value != value else f"{value:.3f}"


def number_of(n: float, one: str, many: str = "") -> str:
    """A count in words; ``many`` is ``one`` with an s.

    >>> number_of(1, "image"), number_of(2, "image"), number_of(0, "class", "classes")
    ('1 image', '2 images', '0 classes')
    """
    return f"{n} {one if n == 1 else many or f'{one}s'}"


def line(first: str, cells: Iterable[str], first_width: int, width: int | Sequence[int]) -> str:
    """A line of a table: what it is of, and its cells to the right of their columns.

    >>> line("IG", ["0.500", "-"], 6, 8), line("IG", ["0.500", "-"], 6, (8, 2))
    ('IG       0.500       -', 'IG       0.500 -')
    """
    widths = repeat(width) if isinstance(width, int) else width
    return f"{first:{first_width}}" + "".join(
        f"{cell:>{wide}}" for cell, wide in zip(cells, widths, strict=False)
    )


def shortened(text: str, longest: int) -> str:
    """A name that fits a column.

    >>> shortened("IG", 4), shortened("Guided IG", 6)
    ('IG', 'Guide…')
    """
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def wrapped(text: str, width: int = LINE) -> str:
    """A text whose prose fits lines of so many letters; lines of tables stay as they are.

    >>> print(wrapped("a sentence of words\\nname   0.500   0.250", 12))
    a sentence
    of words
    name   0.500   0.250
    """
    return "\n".join(
        line
        if len(line) <= width or "  " in line.strip()
        else textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )


def blocks(items: Sequence[_T], width: int, room: int) -> list[Sequence[_T]]:
    """Columns of a table, as many side by side as a line has room for.

    >>> blocks(["a", "b", "c"], 10, 25)
    [['a', 'b'], ['c']]
    """
    n = max(1, room // width)
    return [items[k : k + n] for k in range(0, len(items), n)]


def numbered_class(index: int) -> str:
    """What a class without a name is called.

    >>> numbered_class(3)
    'class 3'
    """
    return f"class {index}"
