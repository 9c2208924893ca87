"""Entries of a file of annotations: checked one by one, those of an image collected."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captum_ext._text import number_of
from captum_ext.cli.errors import CallError
from captum_ext.cli.inputs.annotation import Annotation, Annotations, Box

# No image is as wide; Pillow draws a polygon that is wider row by row, or fails.
_FAR = 2**20


class Entries:
    """Collects entries of a file, those of one image together."""

    def __init__(self, source: Path, several: bool) -> None:
        self.source, self.several, self.numbers = source, several, dict[str, int]()
        self.annotations, self.n, self.lost = Annotations(), 0, list[Any]()

    def add(self, entry: Any, key: str, parse: Callable[[dict[str, Any]], Annotation]) -> None:
        """An entry whose image stands under ``key``; what ``parse`` refuses is its problem."""
        self.n += 1
        file = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(file, str) or not file.strip():
            self.lost.append(entry)
            return
        name, known = Path(file).as_posix(), self.annotations.of
        try:
            annotation = parse(entry)
        except ValueError as error:
            annotation = Annotation(problem=f"its annotation {error}")
        try:
            known[name] = self._joined(known[name], annotation) if name in known else annotation
        except ValueError as error:
            raise CallError(
                f"--annotations {self.source}: entries {self.numbers[name]} and {self.n} of "
                f'"images", both of {name!r}, {error}.'
            ) from error
        self.numbers.setdefault(name, self.n)
        self.annotations.masks.update(mask.resolve() for mask in annotation.masks)

    def _joined(self, one: Annotation, other: Annotation) -> Annotation:
        return one.beside(other) if self.several else one | other

    def found(self) -> Annotations:
        """What was collected, with a remark on entries of no image."""
        if self.lost:
            self.annotations.notes.append(
                f"--annotations has {number_of(len(self.lost), 'entry', 'entries')} of no image, "
                f"such as {in_short(self.lost[0])}"
            )
        return self.annotations


def on_unknown(n: int) -> list[str]:
    """The remark on so many categories that the model does not know."""
    kinds = number_of(n, "category that is", "categories that are")
    said = f"--annotations has objects of {kinds} no class of the model"
    return [f"{said}, and are left out"] if n else []


def as_box(values: Any) -> Box:
    """Left, top, right, bottom; ValueError where they are none."""
    box = as_numbers(values, "box", 4)
    left, top, right, bottom = box
    if right < left or bottom < top:
        raise ValueError(f"has a box whose end is before its start: {in_short([*box])}")
    return box


def as_polygon(values: Any) -> Box:
    """x and y of three corners or more; ValueError where they are none."""
    corners = as_numbers(values, "polygon")
    if len(corners) < 6 or len(corners) % 2:
        raise ValueError(
            f"has a polygon of {number_of(len(corners), 'number')}, not x and y of three points "
            "or more"
        )
    return corners


def as_numbers(values: Any, what: str, n: int | None = None) -> Box:
    """A list of numbers that may be places, of so many; ValueError where it is none."""
    if not isinstance(values, list) or not all(_is_place(value) for value in values):
        raise ValueError(f"has a {what} that is not of numbers up to {_FAR}: {in_short(values)}")
    if n is not None and len(values) != n:
        raise ValueError(f"has a {what} of {number_of(len(values), 'number')}, not {n}")
    return tuple(float(value) for value in values)


def _is_place(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _FAR


def in_short(value: Any) -> str:
    """A value as JSON, cut where it is long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."
