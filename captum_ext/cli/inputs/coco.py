"""COCO's layout: objects of images by number, as boxes, polygons or run lengths."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from captum_ext.cli.errors import CallError
from captum_ext.cli.inputs.annotation import Annotation, Runs, of_objects
from captum_ext.cli.inputs.entries import (
    Entries,
    as_box,
    as_numbers,
    as_polygon,
    in_short,
    on_unknown,
)
from captum_ext.cli.inputs.labels import Classes


def from_coco(reader: Entries, content: dict[str, Any], classes: Classes) -> None:
    """Gives a reader every image of a file with its objects."""
    categories = content.get("categories")
    names: dict[str, int | None] = {}
    for category in categories if isinstance(categories, list) else []:
        if isinstance(category, dict):
            number = classes.number(category.get("name"))
            if names.setdefault(_id(category), number) != number:
                raise CallError(
                    f"--annotations {reader.source} has two categories of the id {_id(category)}; "
                    "keep one of them."
                )
    parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    ids = {_id(image) for image in content["images"] if isinstance(image, dict)}
    for entry in content["annotations"]:
        image = _id(entry, "image_id") if isinstance(entry, dict) else ""
        if image in ids:
            parts[image].append(entry)
        else:
            reader.lost.append(entry)
    unknown = {_id(e, "category_id") for of in parts.values() for e in of} & {
        key for key, number in names.items() if number is None
    }
    if reader.several:
        reader.annotations.notes += on_unknown(len(unknown))
    for image in content["images"]:
        reader.add(image, "file_name", lambda e: _of_image(e, parts[_id(e)], names, reader.several))


def _id(entry: dict[str, Any], key: str = "id") -> str:
    """An identifier of any kind as a key."""
    return json.dumps(entry.get(key))


def _of_image(
    image: dict[str, Any],
    objects: Iterable[dict[str, Any]],
    names: dict[str, int | None],
    several: bool,
) -> Annotation:
    sides = [image.get("width"), image.get("height")]
    width, height = (0, 0) if None in sides else as_numbers(sides, "size", 2)
    size = None if None in sides else (int(width), int(height))
    each = [(names.get(_id(entry, "category_id")), _object(entry)) for entry in objects]
    return of_objects(each, size, several)


def _object(entry: dict[str, Any]) -> Annotation:
    shape = entry.get("segmentation")
    if isinstance(shape, dict):
        return Annotation(runs=(_runs(shape),))
    if shape:
        if not isinstance(shape, list):
            raise ValueError(f"has a segmentation that is neither list nor runs: {in_short(shape)}")
        return Annotation(polygons=tuple(map(as_polygon, shape)))
    if entry.get("bbox") is not None:
        left, top, wide, high = as_numbers(entry["bbox"], "box", 4)
        return Annotation(boxes=(as_box([left, top, left + wide, top + high]),))
    return Annotation()


def _runs(shape: dict[str, Any]) -> Runs:
    """COCO's run lengths: {"size": [height, width], "counts": [...] or "..."}."""
    height, width = as_numbers(shape.get("size"), "size", 2)
    counts = shape.get("counts")
    if isinstance(counts, str):
        counts = _decompressed(counts)
    lengths = tuple(n for n in counts if type(n) is int) if isinstance(counts, list) else ()
    # A single count could fill the memory.
    if min(lengths, default=-1) < 0 or [*lengths] != counts or sum(lengths) != height * width:
        raise ValueError(f"has run lengths that do not add up to its size: {in_short(counts)}")
    return (int(width), int(height)), lengths


def _decompressed(text: str) -> list[int]:
    """Run lengths from COCO's text: five bits a character, from the third on differences.

    As in the COCO API's ``rleFrString``: bit 32 says that more follows, bit 16 of the last is
    the sign, and a difference is to the run before the previous one.

    >>> _decompressed("52203")
    [5, 2, 2, 2, 5]
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return []
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts if shift == 0 else []
