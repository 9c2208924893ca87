"""What is kept of each example, and the checksum by which a row is known to be whole."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, TypeVar


@dataclass(frozen=True)
class Seen:
    """An example as it was met.

    ``reason`` says why it is left out, None that it isn't; ``labeled`` how many classes its data
    has, of which 0 leaves it to the model's prediction. Of several classes that are explained
    ``target`` and ``probability`` are lists, as JSON; ``one_region`` says whether one annotated
    region stands for all of them.
    """

    position: int
    digest: str
    target: int | str | None
    prediction: int | None
    probability: float | str | None
    reason: str | None
    picture: bytes | None
    labeled: int = 1
    one_region: int = 0

    @property
    def pairs(self) -> list[tuple[int | None, float | None]]:
        """The classes that are explained, each with its probability."""
        if not isinstance(self.target, str):
            assert not isinstance(self.probability, str), "a list beside one class"
            return [(self.target, self.probability)]
        return [*zip(json.loads(self.target), json.loads(str(self.probability)), strict=True)]


@dataclass(frozen=True)
class Result:
    """What a method and all metrics gave for one example.

    Args:
        position: of the example in the data.
        method: its name.
        seconds, forwards, gradients: the cost of this example's map, nan where not known.
        reasons: what went wrong, as JSON: by metric, or by "" for the method itself.
        states: the metrics' readings, packed.
        picture: a small map for the report, or those of several classes strung together.
    """

    position: int
    method: str
    seconds: float
    forwards: float
    gradients: float
    reasons: str
    states: bytes
    picture: bytes | None


@dataclass(frozen=True)
class Piece:
    """What the report's own page of an image needs of the image, or of a method's map of it.

    Args:
        position: of the example in the data.
        method: its name; "" for the image.
        score: by which images are chosen, of a map.
        held: as JSON.
    """

    position: int
    method: str
    score: float | None
    held: str


Row = TypeVar("Row", Seen, Result, Piece)


def as_object(kind: type[Row], row: tuple[Any, ...]) -> Row:
    """A row as an object; SQLite keeps nan as NULL."""
    given: Any = {field.name: value for field, value in zip(fields(kind), row, strict=True)}
    for cost in ("seconds", "forwards", "gradients"):
        if cost in given and given[cost] is None:
            given[cost] = float("nan")
    return kind(**given)


def summed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row as SQLite will give it back, with a checksum."""
    plain = (int(v) if isinstance(v, bool) else v for v in row)
    kept = tuple(None if isinstance(v, float) and v != v else v for v in plain)
    return (*kept, checksum(kept))


def is_sound(row: tuple[Any, ...]) -> bool:
    """Whether a row is as it was written."""
    return checksum(row[:-1]) == row[-1]


def checksum(values: Iterable[Any]) -> int:
    """A number that is another where a bit is."""
    total = 0
    for value in values:
        total = zlib.crc32(value if isinstance(value, bytes) else repr(value).encode(), total)
    return total
