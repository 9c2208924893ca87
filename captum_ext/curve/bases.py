"""Bokeh images: sharp where pixels are revealed, little information elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from captum_ext._typing import Tensors
from captum_ext.curve.codec import Bytes, from_bytes, to_bytes
from captum_ext.curve.frames import Frames, FrameSource
from captum_ext.curve.lattice import Mask, interpolate
from captum_ext.curve.ranking import Ranking


@dataclass(frozen=True)
class BlurredBase:
    """Unrevealed pixels come from Pillow's Gaussian blur of the image: IDGI's base.

    Args:
        radius: Pillow's, about the standard deviation in pixels.
    """

    radius: float = 20.0

    def frames(self, images: Tensor, ranking: Ranking, counts: Tensor) -> FrameSource:
        """Frames of ``images``, (N, C, H, W) in [0, 1]; all are rounded to 8 bits."""
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
class InterpolatedBase:
    """Unrevealed pixels are interpolated from the revealed and some random ones: XRAI's base.

    Args:
        fraction: share of pixels that are known from the start.
        seed: of their choice; the same for every image of a size.
    """

    fraction: float = 0.01
    seed: int = 0

    def frames(self, images: Tensor, ranking: Ranking, counts: Tensor) -> FrameSource:
        """Frames of ``images``, (N, C, H, W) in [0, 1]; all are rounded to 8 bits."""
        return InterpolatedFrames(images, self.known(*images.shape[2:]), ranking, counts)

    def known(self, height: int, width: int) -> Mask:
        """Which pixels are known from the start, (height, width)."""
        size = height * width
        generator = torch.Generator().manual_seed(self.seed)
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

    def make(self, rows: Tensor, counts: Tensor) -> Tensors:
        """Frames of the examples ``rows`` with ``counts`` pixels revealed."""
        revealed = self.ranking.positions[0][rows, 0] < counts.view(-1, 1, 1)
        pairs = zip(rows.tolist(), revealed.cpu().numpy(), strict=True)
        made = np.stack([interpolate(self._bytes[i], shown | self.known) for i, shown in pairs])
        return (from_bytes(made, self.images),)
