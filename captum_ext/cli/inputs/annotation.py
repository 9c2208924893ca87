"""What an annotation says: where the object is in an image, and the region it makes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from captum_ext.cli.inputs.labels import Label
from captum_ext.cli.inputs.pictures import FORMATS, PictureError, decoded
from captum_ext.metrics import boxes_to_masks

# Formats that keep a mask's edges.
MASK_FORMATS = tuple(name for name in FORMATS if name not in ("JPEG", "WEBP"))
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
        if not self.has_parts:
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
    def has_parts(self) -> bool:
        """Whether it says where anything is."""
        return bool(self.masks or self.boxes or self.polygons or self.runs)

    def __or__(self, other: Annotation) -> Annotation:
        """Both together; ValueError where they contradict one another."""
        for of in ("label", "size"):
            here, there = getattr(self, of), getattr(other, of)
            if here is not None and there is not None and here != there:
                word = "class" if of == "label" else of
                raise ValueError(f"have the {word} {here} and {there}; keep one of them")
        told = all(one.of_class for one in (self, other) if one.has_parts)
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
        return replace(both, label=label_of(named))


def _classes(label: Label | None) -> tuple[int, ...]:
    return label if isinstance(label, tuple) else () if label is None else (label,)


def label_of(classes: Iterable[int]) -> Label | None:
    """One class as it is, several in order, None for none."""
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


def of_objects(
    each: list[tuple[int | None, Annotation]], size: tuple[int, int] | None, several: bool
) -> Annotation:
    """All objects of an image, each with its class where that is one of the model's."""
    labels = {label for label, _ in each}
    # Without several, objects of two classes do not say which one is the image's.
    alike = several or len(labels) == 1
    named = label_of(label for label in labels if label is not None) if alike else None
    whole = Annotation(named, size=size)
    for _, one in each:
        whole |= one
    own = [(label, one) for label, one in each if label is not None and one.has_parts]
    return replace(whole, of_class=_by_class(own))


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


def _drawn_runs(runs: Runs, size: tuple[int, int]) -> Image.Image:
    annotated, counts = runs
    if annotated != size:
        raise ValueError(_other_size(annotated, size))
    values = np.arange(len(counts)) % 2 * 255
    flat = np.repeat(values.astype(np.uint8), counts)
    return Image.fromarray(np.ascontiguousarray(flat.reshape(size).T))


def _other_size(annotated: tuple[int, int], image: tuple[int, int]) -> str:
    return (
        f"its annotation is of {annotated[0]} x {annotated[1]} pixels, the image of "
        f"{image[0]} x {image[1]}"
    )
