"""Regions of objects in images, from a JSON file of either layout or a folder of masks."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from captum_ext.cli.errors import CallError
from captum_ext.cli.labels import Classes
from captum_ext.metrics import boxes_to_masks


@dataclass(frozen=True)
class Annotation:
    """Where an object is in an image, in the image file's pixels.

    Args:
        label: the image's class, if the annotation says so.
        boxes: (left, top, right, bottom) each.
        polygons: x, y, x, y, ... each.
        runs: COCO's uncompressed run lengths: {"size": [height, width], "counts": [...]}.
        mask: a picture whose bright pixels are the object.
        size: (width, height) of the image, if it is said.
    """

    label: int | None = None
    boxes: tuple[tuple[float, ...], ...] = ()
    polygons: tuple[tuple[float, ...], ...] = ()
    runs: tuple[dict[str, Any], ...] = ()
    mask: Path | None = None
    size: tuple[int, int] | None = None

    def region(self, size: tuple[int, int]) -> Image.Image | None:
        """The object white on black, (width, height) as the image; None without an object.

        Raises:
            OSError: if the annotation is of another size, or its picture can't be read.
        """
        if self.size is not None and self.size != size:
            raise OSError(_other_size(self.size, size))
        if not (self.mask or self.boxes or self.polygons or self.runs):
            return None
        if self.mask is not None:
            return _read_mask(self.mask, size)
        region = Image.new("L", size)
        draw = ImageDraw.Draw(region)
        if self.boxes:
            inside = boxes_to_masks([torch.tensor(self.boxes)], size[1], size[0])[0]
            region.paste(255, mask=Image.fromarray(inside.numpy().astype(np.uint8) * 255))
        for polygon in self.polygons:
            draw.polygon(list(polygon), fill=255)
        for runs in self.runs:
            region.paste(255, mask=_from_runs(runs, size))
        return region


@dataclass
class Annotations:
    """Annotations by image path, and pictures that are masks and not images."""

    of: dict[str, Annotation] = field(default_factory=dict)
    masks: set[Path] = field(default_factory=set)


def read_annotations(source: Path, images: Path, classes: Classes) -> Annotations:
    """Annotations from a JSON file (this project's layout or COCO's) or a folder of masks.

    Raises:
        CallError: if there is no such file or folder, or its layout is neither.
    """
    if source.is_dir():
        return _from_masks(source)
    try:
        content = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CallError(f"--annotations {source} can't be read: {error}.") from error
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        try:
            if isinstance(content.get("annotations"), list):
                return _from_coco(content, classes)
            return _from_list(content["images"], source.parent, images)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CallError(
                f"--annotations {source} has an entry that does not fit: "
                f"{type(error).__name__} {error}."
            ) from error
    raise CallError(
        f'--annotations {source} needs a list "images" of entries with "file" and "boxes_xyxy" '
        'or "mask", or COCO\'s "images", "annotations" and "categories".'
    )


def _from_list(entries: list[dict[str, Any]], folder: Path, images: Path) -> Annotations:
    found = Annotations()
    for entry in entries:
        mask = entry.get("mask")
        places = [folder / mask, images / mask] if mask else []
        file = next((p for p in places if p.is_file()), places[0] if places else None)
        if file is not None:
            found.masks.add(file.resolve())
        label = entry.get("expected_class", entry.get("class"))
        found.of[Path(entry["file"]).as_posix()] = Annotation(
            label=None if label is None else int(label),
            boxes=tuple(_numbers(box, 4) for box in entry.get("boxes_xyxy") or ()),
            mask=file,
        )
    return found


def _from_coco(content: dict[str, Any], classes: Classes) -> Annotations:
    categories = {c["id"]: classes.number(c["name"]) for c in content.get("categories", ())}
    parts = defaultdict(list)
    for entry in content["annotations"]:
        parts[entry["image_id"]].append(entry)
    found = Annotations()
    for image in content["images"]:
        entries = parts[image["id"]]
        labels = {categories.get(entry.get("category_id")) for entry in entries}
        drawn = [e for e in entries if not e.get("segmentation")]
        shapes = [e["segmentation"] for e in entries if e.get("segmentation")]
        for runs in (s for s in shapes if isinstance(s, dict)):
            if not isinstance(runs["counts"], list):
                raise ValueError("compressed run lengths are not read: give polygons or lists")
        size = (image.get("width"), image.get("height"))
        found.of[Path(image["file_name"]).as_posix()] = Annotation(
            # Objects of several classes do not say which one is the image's.
            label=labels.pop() if len(labels) == 1 else None,
            boxes=tuple(_corners(e["bbox"]) for e in drawn if "bbox" in e),
            polygons=tuple(tuple(map(float, p)) for s in shapes if isinstance(s, list) for p in s),
            runs=tuple(s for s in shapes if isinstance(s, dict)),
            size=None if None in size else (int(size[0]), int(size[1])),
        )
    return found


def _from_masks(folder: Path) -> Annotations:
    found = Annotations()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        if file.suffix.lower() in (".png", ".bmp", ".gif", ".tif", ".tiff"):
            stem = file.relative_to(folder).with_suffix("").as_posix().removesuffix("_mask")
            found.of[stem] = Annotation(mask=file)
            found.masks.add(file.resolve())
    if not found.of:
        raise CallError(f"--annotations {folder} is a folder without masks (.png, .bmp, .tif).")
    return found


def _numbers(values: Any, n: int) -> tuple[float, ...]:
    numbers = tuple(float(v) for v in values)
    if len(numbers) != n:
        raise ValueError(f"a box has {n} numbers, but got {len(numbers)}")
    return numbers


def _corners(box: Any) -> tuple[float, ...]:
    left, top, width, height = _numbers(box, 4)
    return left, top, left + width, top + height


def _read_mask(file: Path, size: tuple[int, int]) -> Image.Image:
    with Image.open(file) as opened:
        if opened.size != size:
            raise OSError(_other_size(opened.size, size))
        pixels = np.asarray(opened.convert("I") if opened.mode.startswith("I") else opened)
    pixels = pixels if pixels.ndim == 2 else pixels[..., :3].max(2)
    return Image.fromarray((pixels > 0).astype(np.uint8) * 255)


def _from_runs(runs: dict[str, Any], size: tuple[int, int]) -> Image.Image:
    height, width = runs["size"]
    if (width, height) != size:
        raise OSError(_other_size((width, height), size))
    counts = runs["counts"]
    values = np.arange(len(counts)) % 2 * 255
    flat = np.repeat(values, counts).astype(np.uint8)
    if flat.size != height * width:
        raise OSError("its annotation's run lengths do not add up to its size")
    return Image.fromarray(np.ascontiguousarray(flat.reshape(width, height).T))


def _other_size(annotated: tuple[int, int], image: tuple[int, int]) -> str:
    return (
        f"its annotation is of {annotated[0]} x {annotated[1]} pixels, the image of "
        f"{image[0]} x {image[1]}"
    )
