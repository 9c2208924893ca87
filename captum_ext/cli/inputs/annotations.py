"""Regions of objects in images, from a JSON file of either layout, masks or XML files."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image, ImageDraw

from captum_ext._text import reason
from captum_ext.cli.errors import CallError
from captum_ext.cli.inputs.labels import Classes, Label
from captum_ext.cli.inputs.pictures import FORMATS, PictureError, decoded
from captum_ext.metrics import boxes_to_masks

# Formats that keep a mask's edges.
MASK_FORMATS = tuple(name for name in FORMATS if name not in ("JPEG", "WEBP"))
_MASK_SUFFIXES = tuple(suffix for name in MASK_FORMATS for suffix in FORMATS[name])
# No image is as wide; Pillow draws a polygon that is wider row by row, or fails.
_FAR = 2**20
Box = tuple[float, ...]
Runs = tuple[tuple[int, int], tuple[int, ...]]


@dataclass(frozen=True)
class Annotation:
    """Where an object is in an image, in the upright image's pixels: the union of all parts.

    Args:
        label: the image's class, or several, if the annotation says so.
        boxes: (left, top, right, bottom) each.
        polygons: x, y, x, y, ... each.
        runs: ((width, height), lengths) each: columns, first outside, then inside, and so on.
        masks: pictures whose pixels above 0 are the object.
        size: (width, height) of the image, if it is said.
        problem: why it can't be used.
        of_class: by class what is its objects', where all objects say theirs.
    """

    label: Label | None = None
    boxes: tuple[Box, ...] = ()
    polygons: tuple[Box, ...] = ()
    runs: tuple[Runs, ...] = ()
    masks: tuple[Path, ...] = ()
    size: tuple[int, int] | None = None
    problem: str | None = None
    of_class: tuple[tuple[int, Annotation], ...] = ()

    def regions(self, size: tuple[int, int], label: Label | None) -> list[Image.Image | None]:
        """The region of each of several classes; of one class, or of what is all one, one.

        Args:
            size: of the image.
            label: what is explained; None is what the model predicts, for which all objects are.

        Raises as `region`.
        """
        whole, known = self.region(size), dict(self.of_class)
        if isinstance(label, tuple) and known:
            return [known[k].region(size) if k in known else Image.new("L", size) for k in label]
        own = known.get(label) if isinstance(label, int) else None
        return [whole if own is None else own.region(size)]

    def region(self, size: tuple[int, int]) -> Image.Image | None:
        """The object white on black, (width, height) as the image; None without an object.

        Raises:
            ValueError: if the annotation is of another size, or can't be read, with the reason.
            OSError: if the disk fails.
        """
        if self.problem is not None:
            raise ValueError(self.problem)
        if self.size is not None and self.size != size:
            raise ValueError(_other_size(self.size, size))
        if not self._has_parts:
            return None
        region = Image.new("L", size)
        draw = ImageDraw.Draw(region)
        if self.boxes:
            inside = boxes_to_masks([torch.tensor(self.boxes)], size[1], size[0])[0]
            region.paste(255, mask=Image.fromarray(inside.numpy().astype(np.uint8) * 255))
        for polygon in self.polygons:
            draw.polygon(list(polygon), fill=255)
        for runs in self.runs:
            region.paste(255, mask=_drawn_runs(runs, size))
        for mask in self.masks:
            region.paste(255, mask=_read_mask(mask, size))
        return region

    @property
    def _has_parts(self) -> bool:
        return bool(self.masks or self.boxes or self.polygons or self.runs)

    def __or__(self, other: Annotation) -> Annotation:
        """Both together; ValueError where they contradict one another."""
        for of in ("label", "size"):
            here, there = getattr(self, of), getattr(other, of)
            if here is not None and there is not None and here != there:
                word = "class" if of == "label" else of
                raise ValueError(f"have the {word} {here} and {there}; keep one of them")
        told = all(one.of_class for one in (self, other) if one._has_parts)
        return Annotation(
            self.label if other.label is None else other.label,
            _union(self.boxes, other.boxes),
            _union(self.polygons, other.polygons),
            _union(self.runs, other.runs),
            _union(self.masks, other.masks),
            self.size or other.size,
            self.problem or other.problem,
            _by_class([*self.of_class, *other.of_class]) if told else (),
        )

    def beside(self, other: Annotation) -> Annotation:
        """Both together, of as many classes as the two name."""
        named = {*_classes(self.label), *_classes(other.label)}
        both = replace(self, label=None) | replace(other, label=None)
        return replace(both, label=_label(named))


def _classes(label: Label | None) -> tuple[int, ...]:
    return label if isinstance(label, tuple) else () if label is None else (label,)


def _label(classes: Iterable[int]) -> Label | None:
    named = sorted({*classes})
    return tuple(named) if len(named) > 1 else next(iter(named), None)


def _by_class(
    objects: Iterable[tuple[int, Annotation]],
) -> tuple[tuple[int, Annotation], ...]:
    found: dict[int, Annotation] = {}
    for label, one in objects:
        found[label] = found[label] | one if label in found else one
    return tuple(sorted(found.items(), key=lambda item: item[0]))


def _union(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    return one + tuple(part for part in other if part not in one)


@dataclass
class Annotations:
    """Annotations by image path, pictures that are masks and not images, and remarks."""

    of: dict[str, Annotation] = field(default_factory=dict)
    masks: set[Path] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def read_annotations(
    source: Path, images: Path, classes: Classes, several: bool = False
) -> Annotations:
    """Annotations from a JSON file (this project's layout or COCO's), masks or VOC's XML files.

    What is wrong with one image's annotation is kept as its problem.

    Args:
        source: the file or folder.
        images: the folder of the images.
        classes: the model's.
        several: whether an image may be of several classes.

    Raises:
        CallError: if there is no such file or folder, its layout is neither, or two entries of
            an image contradict one another.
    """
    if source.is_dir():
        files = sorted(p for p in source.rglob("*") if p.is_file())
        told = [file for file in files if file.suffix.lower() == ".xml"]
        return _from_voc(source, told, classes, several) if told else _from_masks(source, files)
    try:
        content = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CallError(f"--annotations {source} can't be read: {reason(error)}.") from error
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        reader = _Entries(source, several)
        if isinstance(content.get("annotations"), list):
            _from_coco(reader, content, classes)
        else:
            for entry in content["images"]:
                reader.add(
                    entry, "file", lambda e: _listed(e, source.parent, images, classes, several)
                )
        return reader.found()
    raise CallError(
        f'--annotations {source} needs a list "images" of entries with "file" and "boxes_xyxy" '
        'or "mask", or COCO\'s "images", "annotations" and "categories".'
    )


class _Entries:
    """Collects entries of a file, those of one image together."""

    def __init__(self, source: Path, several: bool) -> None:
        self.source, self.several, self.numbers = source, several, dict[str, int]()
        self.annotations, self.n, self.lost = Annotations(), 0, list[Any]()

    def add(self, entry: Any, key: str, parse: Callable[[dict[str, Any]], Annotation]) -> None:
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
        if self.lost:
            self.annotations.notes.append(
                f"--annotations has {len(self.lost)} entries of no image, such as "
                f"{_short(self.lost[0])}"
            )
        return self.annotations


def _listed(
    entry: dict[str, Any], folder: Path, images: Path, classes: Classes, several: bool
) -> Annotation:
    """An entry of this project's layout; a mask says more than the boxes around it."""
    label = _named(entry, classes, several)
    region = _region_of(entry, folder, images)
    # The region of an entry of several classes is that of all of them.
    own = ((label, region),) if isinstance(label, int) and region._has_parts else ()
    return replace(region, label=label, of_class=own)


def _named(entry: dict[str, Any], classes: Classes, several: bool) -> Label | None:
    named = (entry.get(key) for key in ("expected_class", "class"))
    said = next((value for value in named if value is not None), None)
    each = said if several and isinstance(said, list) else [] if said is None else [said]
    numbers = [classes.number(one) for one in each]
    # A model of scores has no classes, and what is said of some is not its matter.
    if None in numbers and classes.names:
        unknown = each[numbers.index(None)]
        raise ValueError(f"has the class {_short(unknown)}, not one of {len(classes.names)}")
    return _label(number for number in numbers if number is not None)


def _region_of(entry: dict[str, Any], folder: Path, images: Path) -> Annotation:
    mask = entry.get("mask")
    if mask:
        if not isinstance(mask, str):
            raise ValueError(f"has a mask that is no file's name: {_short(mask)}")
        file = next((p for p in (folder / mask, images / mask) if _exists(p)), None)
        if file is None:
            raise ValueError(f"has a mask that does not exist: {_short(mask)}")
        return Annotation(masks=(file,))
    boxes = entry.get("boxes_xyxy") or []
    if not isinstance(boxes, list):
        raise ValueError(f"has boxes that are no list: {_short(boxes)}")
    return Annotation(boxes=tuple(map(_box, boxes)))


def _exists(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False


def _from_coco(reader: _Entries, content: dict[str, Any], classes: Classes) -> None:
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
        reader.annotations.notes += _on_unknown(len(unknown))
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
    width, height = (0, 0) if None in sides else _numbers(sides, "size", 2)
    size = None if None in sides else (int(width), int(height))
    each = [(names.get(_id(entry, "category_id")), _object(entry)) for entry in objects]
    return _of_objects(each, size, several)


def _of_objects(
    each: list[tuple[int | None, Annotation]], size: tuple[int, int] | None, several: bool
) -> Annotation:
    """All objects of an image, each with its class where that is one of the model's."""
    labels = {label for label, _ in each}
    # Without several, objects of two classes do not say which one is the image's.
    alike = several or len(labels) == 1
    named = _label(label for label in labels if label is not None) if alike else None
    whole = Annotation(named, size=size)
    for _, one in each:
        whole |= one
    own = [(label, one) for label, one in each if label is not None and one._has_parts]
    return replace(whole, of_class=_by_class(own))


def _object(entry: dict[str, Any]) -> Annotation:
    shape = entry.get("segmentation")
    if isinstance(shape, dict):
        return Annotation(runs=(_runs(shape),))
    if shape:
        if not isinstance(shape, list):
            raise ValueError(f"has a segmentation that is neither list nor runs: {_short(shape)}")
        return Annotation(polygons=tuple(map(_polygon, shape)))
    if entry.get("bbox") is not None:
        left, top, wide, high = _numbers(entry["bbox"], "box", 4)
        return Annotation(boxes=(_box([left, top, left + wide, top + high]),))
    return Annotation()


def _on_unknown(n: int) -> list[str]:
    said = f"--annotations has objects of {n} categories that are no class of the model"
    return [f"{said}, and are left out"] if n else []


def _from_voc(folder: Path, files: list[Path], classes: Classes, several: bool) -> Annotations:
    """Files of the PASCAL visual object classes, one of each image and called like it."""
    found, unknown = Annotations(), set[str]()
    for file in files:
        stem = file.relative_to(folder).with_suffix("").as_posix()
        try:
            root = ElementTree.parse(file).getroot()
            named = [(entry.findtext("name", "").strip(), entry) for entry in root.iter("object")]
            each = [(classes.number(name), _voc_box(entry)) for name, entry in named]
            sides = [root.findtext(f"size/{side}") for side in ("width", "height")]
            size = None if None in sides else (int(sides[0] or 0), int(sides[1] or 0))
            found.of[stem] = _of_objects(each, size, several)
        except OSError as error:
            raise CallError(f"--annotations {file} can't be read: {reason(error)}.") from error
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            found.of[stem] = Annotation(problem=f"its annotation {reason(error)}")
            continue
        unknown |= {name for name, _ in named if classes.number(name) is None}
    found.notes += _on_unknown(len(unknown)) if several else []
    return found


def _voc_box(entry: ElementTree.Element) -> Annotation:
    """A box whose corners are pixels counted from 1, both inside."""
    said = [entry.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    if None in said:
        raise ValueError("has an object without a whole bndbox")
    left, top, right, bottom = (float(value or "nan") for value in said)
    return Annotation(boxes=(_box([left - 1, top - 1, right, bottom]),))


def _from_masks(folder: Path, files: list[Path]) -> Annotations:
    found = Annotations()
    for file in files:
        if file.suffix.lower() in _MASK_SUFFIXES:
            stem = file.relative_to(folder).with_suffix("").as_posix().removesuffix("_mask")
            if stem in found.of:
                raise CallError(
                    f"--annotations {folder} has two masks of {stem!r}, {found.of[stem].masks[0]} "
                    f"and {file}; keep one of them."
                )
            found.of[stem] = Annotation(masks=(file,))
            found.masks.add(file.resolve())
    if not found.of:
        raise CallError(
            f"--annotations {folder} is a folder without masks ({', '.join(_MASK_SUFFIXES)}) and "
            "without VOC's .xml."
        )
    return found


def _box(values: Any) -> Box:
    box = _numbers(values, "box", 4)
    left, top, right, bottom = box
    if right < left or bottom < top:
        raise ValueError(f"has a box whose end is before its start: {_short([*box])}")
    return box


def _polygon(values: Any) -> Box:
    corners = _numbers(values, "polygon")
    if len(corners) < 6 or len(corners) % 2:
        raise ValueError(
            f"has a polygon of {len(corners)} numbers, not x and y of three points or more"
        )
    return corners


def _numbers(values: Any, what: str, n: int | None = None) -> Box:
    if not isinstance(values, list) or not all(_is_place(value) for value in values):
        raise ValueError(f"has a {what} that is not of numbers up to {_FAR}: {_short(values)}")
    if n is not None and len(values) != n:
        raise ValueError(f"has a {what} of {len(values)} numbers, not {n}")
    return tuple(float(value) for value in values)


def _is_place(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _FAR


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _read_mask(file: Path, size: tuple[int, int]) -> Image.Image:
    try:
        mask = decoded(file, MASK_FORMATS)
    except PictureError as error:
        raise ValueError(f"its mask {error.reason}") from error
    if mask.size != size:
        raise ValueError(_other_size(mask.size, size))
    if mask.mode in ("LA", "RGBA"):
        # Where a picture is opaque says nothing of its colors.
        mask = mask.convert(mask.mode.removesuffix("A"))
    pixels = np.asarray(mask)
    if mask.mode not in ("1", "L", "P", "I", "F", "RGB") and not mask.mode.startswith("I;16"):
        raise ValueError(f"its mask is of mode {mask.mode}: save it as grey, palette or RGB")
    if not np.isfinite(pixels).all():
        raise ValueError("its mask has nan or infinite pixels")
    pixels = pixels if pixels.ndim == 2 else pixels.max(2)
    return Image.fromarray((pixels > 0).astype(np.uint8) * 255)


def _runs(shape: dict[str, Any]) -> Runs:
    """COCO's run lengths: {"size": [height, width], "counts": [...] or "..."}."""
    height, width = _numbers(shape.get("size"), "size", 2)
    counts = shape.get("counts")
    if isinstance(counts, str):
        counts = _decompressed(counts)
    lengths = tuple(n for n in counts if type(n) is int) if isinstance(counts, list) else ()
    # A single count could fill the memory.
    if min(lengths, default=-1) < 0 or [*lengths] != counts or sum(lengths) != height * width:
        raise ValueError(f"has run lengths that do not add up to its size: {_short(counts)}")
    return (int(width), int(height)), lengths


def _drawn_runs(runs: Runs, size: tuple[int, int]) -> Image.Image:
    annotated, counts = runs
    if annotated != size:
        raise ValueError(_other_size(annotated, size))
    values = np.arange(len(counts)) % 2 * 255
    flat = np.repeat(values.astype(np.uint8), counts)
    return Image.fromarray(np.ascontiguousarray(flat.reshape(size).T))


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


def _other_size(annotated: tuple[int, int], image: tuple[int, int]) -> str:
    return (
        f"its annotation is of {annotated[0]} x {annotated[1]} pixels, the image of "
        f"{image[0]} x {image[1]}"
    )
