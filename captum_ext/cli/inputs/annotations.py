"""Regions of objects in images, from a JSON file of either layout, masks or XML files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from captum_ext._text import reason
from captum_ext.cli.errors import CallError
from captum_ext.cli.inputs.annotation import (
    MASK_FORMATS,
    Annotation,
    Annotations,
    label_of,
    of_objects,
)
from captum_ext.cli.inputs.coco import from_coco
from captum_ext.cli.inputs.entries import Entries, as_box, in_short, on_unknown
from captum_ext.cli.inputs.labels import Classes, Label
from captum_ext.cli.inputs.pictures import FORMATS
from captum_ext.cli.inputs.words import text_of

_MASK_SUFFIXES = tuple(suffix for name in MASK_FORMATS for suffix in FORMATS[name])


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
    text = text_of("--annotations", source)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CallError(f"--annotations {source} can't be read: {reason(error)}.") from error
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        reader = Entries(source, several)
        if isinstance(content.get("annotations"), list):
            from_coco(reader, content, classes)
        else:
            for entry in content["images"]:
                reader.add(
                    entry, "file", lambda e: _listed(e, source.parent, images, classes, several)
                )
        found = reader.found()
        if not found.of:
            raise CallError(f'--annotations {source} names no image in its list "images".')
        return found
    raise CallError(
        f'--annotations {source} needs a list "images" of entries with "file" and "boxes_xyxy" '
        'or "mask", or COCO\'s "images", "annotations" and "categories".'
    )


def _listed(
    entry: dict[str, Any], folder: Path, images: Path, classes: Classes, several: bool
) -> Annotation:
    """An entry of this project's layout; a mask says more than the boxes around it."""
    label = _named(entry, classes, several)
    region = _region_of(entry, folder, images)
    # The region of an entry of several classes is that of all of them.
    own = ((label, region),) if isinstance(label, int) and region.has_parts else ()
    return replace(region, label=label, of_class=own)


def _named(entry: dict[str, Any], classes: Classes, several: bool) -> Label | None:
    named = (entry.get(key) for key in ("expected_class", "class"))
    said = next((value for value in named if value is not None), None)
    each = said if several and isinstance(said, list) else [] if said is None else [said]
    numbers = [classes.number(one) for one in each]
    # A model of scores has no classes, and what is said of some is not its matter.
    if None in numbers and classes.names:
        unknown = each[numbers.index(None)]
        raise ValueError(f"has the class {in_short(unknown)}, not one of {len(classes.names)}")
    return label_of(number for number in numbers if number is not None)


def _region_of(entry: dict[str, Any], folder: Path, images: Path) -> Annotation:
    mask = entry.get("mask")
    if mask:
        if not isinstance(mask, str):
            raise ValueError(f"has a mask that is no file's name: {in_short(mask)}")
        file = next((p for p in (folder / mask, images / mask) if _exists(p)), None)
        if file is None:
            raise ValueError(f"has a mask that does not exist: {in_short(mask)}")
        return Annotation(masks=(file,))
    boxes = entry.get("boxes_xyxy") or []
    if not isinstance(boxes, list):
        raise ValueError(f"has boxes that are no list: {in_short(boxes)}")
    return Annotation(boxes=tuple(map(as_box, boxes)))


def _exists(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False


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
            found.of[stem] = of_objects(each, size, several)
        except OSError as error:
            raise CallError(f"--annotations {file} can't be read: {error.strerror}.") from error
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            found.of[stem] = Annotation(problem=f"its annotation {reason(error)}")
            continue
        unknown |= {name for name, _ in named if classes.number(name) is None}
    found.notes += on_unknown(len(unknown)) if several else []
    return found


def _voc_box(entry: ElementTree.Element) -> Annotation:
    """A box whose corners are pixels counted from 1, both inside."""
    said = [entry.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    if None in said:
        raise ValueError("has an object without a whole bndbox")
    left, top, right, bottom = (float(value or "nan") for value in said)
    return Annotation(boxes=(as_box([left - 1, top - 1, right, bottom]),))


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
