"""Bases: what is shown where features are absent, one seam for every curve."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated as Shaped, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from captum_ext._random import stream
from captum_ext._tensors import asked, format_baselines
from captum_ext._typing import Baselines, PerRow, Rows, Tensors
from captum_ext.curve.codec import Bytes, from_bytes, in_8_bits, to_bytes
from captum_ext.curve.frames import Frames, FrameSource
from captum_ext.curve.lattice import Mask, interpolate
from captum_ext.curve.ranking import Ranking, rank


@runtime_checkable
class Base(Protocol):
    """What is shown where features are absent; a user's own is a class with this one method.

    ``frames`` gets the inputs, a tuple of tensors (N, ...); the ranking, whose ``positions``
    say which features are shown first; and how many are shown in each frame, (N, points). It
    gives an object whose ``make(rows, counts)`` makes the frames of the examples ``rows``, (M,),
    with ``counts``, (M,), features shown: a tuple of tensors (M, ...). It is called chunk by
    chunk, so frames made there and not before take no memory; each is asked for once.

    A base whose absent features look alike in every frame needs no class: a function from each
    input tensor to its replacement, or a number, serves as one.

    >>> from captum_ext.metrics import insertion
    >>> class Mean:
    ...     def frames(self, inputs, ranking, counts):
    ...         means = tuple(x.mean(1, keepdim=True).expand_as(x) for x in inputs)
    ...         return Frames(means, inputs, ranking, counts)
    >>> table = torch.tensor([[0.2, 0.8]])
    >>> insertion(lambda x: x, table, table, target=1, base=Mean(), n_steps=2)
    tensor([0.7250], dtype=torch.float64)
    """

    def frames(self, inputs: Tensors, ranking: Ranking, counts: Tensor) -> FrameSource: ...


@dataclass(frozen=True)
class Constant:
    """Absent features have one value, or those of given tensors: Captum's baselines.

    Args:
        value: a number, or per input tensor a number or a tensor that fits it.

    >>> from captum_ext.curve import rank
    >>> table = torch.tensor([[0.2, 0.8]])
    >>> frames = Constant(0.5).frames((table,), rank((table,)), torch.tensor([[1]]))
    >>> frames.make(torch.tensor([0]), torch.tensor([1]))
    (tensor([[0.5000, 0.8000]]),)
    """

    value: Baselines = 0.0

    def frames(self, inputs: Tensors, ranking: Ranking, counts: Tensor) -> FrameSource:
        """Frames of ``inputs``, per tensor (N, ...)."""
        return Frames(format_baselines(self.value, inputs), inputs, ranking, counts)


@dataclass(frozen=True)
class _Computed:
    function: Callable[[Tensor], Tensor]

    def frames(self, inputs: Tensors, ranking: Ranking, counts: Tensor) -> FrameSource:
        made = tuple(self.function(x.clone()) for x in inputs)
        for image, x in zip(made, inputs, strict=True):
            if image.shape != x.shape:
                raise ValueError(
                    f"`reference` must keep the inputs' shape {tuple(x.shape)}, but gave "
                    f"{tuple(image.shape)}."
                )
        start = tuple(image.detach().to(x) for image, x in zip(made, inputs, strict=True))
        return Frames(start, inputs, ranking, counts)


BaseLike: TypeAlias = Base | float | Callable[[Tensor], Tensor]


def as_base(given: BaseLike, name: str = "base") -> Base:
    """A base as it is, of a number, or of a function from inputs to what replaces them.

    Raises:
        TypeError: for anything else, which ``name`` names.
    """
    if isinstance(given, Base) and not isinstance(given, type):
        return given
    if isinstance(given, int | float):
        return Constant(given)
    if callable(given) and not isinstance(given, type):
        return _Computed(given)
    kind = given.__name__ if isinstance(given, type) else type(given).__name__
    raise TypeError(
        f"`{name}` is a number, a function from inputs to references, or an object with a method "
        f"`frames(inputs, ranking, counts)`, but got {kind}: tensors go to `update` as `baselines`."
    )


def absent_of(given: BaseLike, image: Tensor) -> Tensor | None:
    """An image of which nothing is shown; None where that differs from frame to frame.

    Args:
        given: a base, or what `as_base` makes one of.
        image: (C, H, W).

    >>> absent_of(0.5, torch.ones(1, 1, 2))
    tensor([[[0.5000, 0.5000]]])
    """
    inputs = (image[None],)
    none = torch.zeros(1, 1, dtype=torch.int64, device=image.device)
    made = as_base(given).frames(inputs, rank(inputs), none)
    return made.make(none[0], none[0])[0][0] if isinstance(made, Frames) else None


@dataclass(frozen=True)
class Shown:
    """The frames of a base, checked as they are made.

    Args:
        source: what the base gave.
        inputs: per tensor (N, ...).
        counts: how many features each frame shows, (N, points).
        in_unit: whether frames are images that must stay in [0, 1], and are rounded to 8 bits.
    """

    source: FrameSource
    inputs: Shaped[Tensors, "N ..."]
    counts: Shaped[Tensor, "N points"]
    in_unit: bool = False

    def make(self, rows: Rows, counts: PerRow) -> Shaped[Tensors, "M ..."]:
        """Frames of the examples ``rows`` with ``counts`` features shown.

        Raises:
            ValueError, TypeError: if they don't fit the inputs.
        """
        made = self.source.make(rows, counts)
        shapes = [tuple(x.shape) for x in made] if isinstance(made, tuple) else type(made).__name__
        wanted = [(len(rows), *x.shape[1:]) for x in self.inputs]
        if shapes != wanted:
            raise ValueError(
                f"The frames of a base must be a tuple of tensors of shapes {wanted}, but its "
                f"`make` gave {shapes}."
            )
        frames = tuple(m.detach().to(x) for m, x in zip(made, self.inputs, strict=True))
        self._check_values(frames)
        return tuple(map(in_8_bits, frames)) if self.in_unit else frames

    def _check_values(self, frames: Tensors) -> None:
        finite = [x.isfinite().all() for x in frames]
        inside = [((x >= 0) & (x <= 1)).all() for x in frames if self.in_unit]
        # One question in all: each stalls an accelerator.
        found = asked(*finite, *inside)
        if not all(found[: len(frames)]):
            raise ValueError("The frames of a base must be finite, but hold nan or inf.")
        if not all(found):
            low, high = (float(f(frames[0])) for f in (torch.min, torch.max))
            raise ValueError(
                "The frames of a base must be images in [0, 1], but hold values from "
                f"{low:.3g} to {high:.3g}."
            )


def images_of(inputs: Tensors, base: object) -> Tensor:
    """The one tensor of images that a base of images needs."""
    if len(inputs) != 1 or inputs[0].dim() != 4 or not inputs[0].is_floating_point():
        kinds = [(tuple(x.shape), x.dtype) for x in inputs]
        raise ValueError(
            f"{type(base).__name__} needs one tensor of images (N, C, height, width) of floating "
            f"point, but got {kinds}: `Constant` and functions serve other data."
        )
    if (inputs[0] < 0).any() or (inputs[0] > 1).any():
        raise ValueError(f"{type(base).__name__} needs images in [0, 1].")
    return inputs[0]


@dataclass(frozen=True)
class Blurred:
    """Unrevealed pixels come from Pillow's Gaussian blur of the image: IDGI's base.

    Args:
        radius: Pillow's, about the standard deviation in pixels.
    """

    radius: float = 20.0

    def frames(self, inputs: Tensors, ranking: Ranking, counts: Tensor) -> FrameSource:
        """Frames of images, (N, C, H, W) in [0, 1]; all are rounded to 8 bits."""
        images = images_of(inputs, self)
        sharp = to_bytes(images)
        base = np.stack([self._blur(image) for image in sharp])
        start, end = (from_bytes(levels, images) for levels in (base, sharp))
        return Frames((start,), (end,), ranking, counts)

    def _blur(self, image: Bytes) -> Bytes:
        if image.shape[2] not in (1, 3):
            # Pillow blurs channel by channel, but knows no images of other numbers of them.
            return np.concatenate([self._blur(c) for c in np.split(image, image.shape[2], 2)], 2)
        pixels = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        blurred = np.asarray(pixels.filter(ImageFilter.GaussianBlur(self.radius)))
        return blurred.reshape(image.shape)


@dataclass(frozen=True)
class Interpolated:
    """Unrevealed pixels are interpolated from the revealed and some random ones: XRAI's base.

    Args:
        fraction: share of pixels that are known from the start.
        seed: of their choice; the same for every image of a size.
    """

    fraction: float = 0.01
    seed: int = 0

    def frames(self, inputs: Tensors, ranking: Ranking, counts: Tensor) -> FrameSource:
        """Frames of images, (N, C, H, W) in [0, 1]; all are rounded to 8 bits."""
        images = images_of(inputs, self)
        return InterpolatedFrames(images, self.known(*images.shape[2:]), ranking, counts)

    def known(self, height: int, width: int) -> Mask:
        """Which pixels are known from the start, (height, width)."""
        size = height * width
        generator = stream(self.seed)
        chosen = torch.randperm(size, generator=generator)[: int(size * self.fraction)]
        mask = torch.zeros(size, dtype=torch.bool)
        mask[chosen] = True
        return mask.view(height, width).numpy()


@dataclass(frozen=True)
class InterpolatedFrames:
    """Frames whose unrevealed pixels are interpolated anew in each."""

    images: Tensor
    known: Mask
    ranking: Ranking
    counts: Tensor

    @cached_property
    def _bytes(self) -> Bytes:
        return to_bytes(self.images)

    def make(self, rows: Rows, counts: PerRow) -> Shaped[Tensors, "M ..."]:
        """Frames of the examples ``rows`` with ``counts`` pixels revealed."""
        revealed = self.ranking.positions[0][rows, 0] < counts.view(-1, 1, 1)
        sharp, known = self._bytes[rows.cpu().numpy()], revealed.cpu().numpy() | self.known
        # Qhull lets other threads run meanwhile, as codecs do.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            made = np.stack([*pool.map(interpolate, sharp, known)])
        return (from_bytes(made, self.images),)
