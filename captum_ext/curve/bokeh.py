"""Bokeh images: sharp where pixels are revealed, little information elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image, ImageFilter
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import binary_erosion
from scipy.spatial import Delaunay
from torch import Tensor

from captum_ext._typing import Tensors
from captum_ext.curve.codec import Bytes, from_bytes, to_bytes
from captum_ext.curve.frames import Frames, FrameSource
from captum_ext.curve.ranking import Ranking

Mask = np.ndarray[tuple[int, int], np.dtype[np.bool_]]


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


def interpolate(image: Bytes, known: Mask) -> Bytes:
    """The image with unknown pixels interpolated linearly between the known ones.

    Over a Delaunay triangulation of the known pixels and the corners, as PAIR's code; one
    triangulation serves all channels.

    Args:
        image: (H, W, C).
        known: (H, W).

    >>> ramp = np.arange(5, dtype=np.uint8).repeat(5).reshape(5, 5, 1)
    >>> bool((interpolate(ramp, np.zeros((5, 5), bool)) == ramp).all())
    True
    """
    known = known.copy()
    known[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    unknown = np.argwhere(~known)
    if len(unknown) == 0:
        return image
    # A pixel whose eight neighbors are known is no corner of a triangle around an unknown one.
    inner = binary_erosion(known, np.ones((3, 3), bool), border_value=1)
    inner[[0, 0, -1, -1], [0, -1, 0, -1]] = False
    corners = np.argwhere(known & ~inner)
    values = image[corners[:, 0], corners[:, 1]].astype(float)
    made = image.copy()
    found = LinearNDInterpolator(Delaunay(corners), values)(unknown)
    # A pixel on the hull may fall outside by a rounding error.
    mean = image.mean((0, 1))
    made[unknown[:, 0], unknown[:, 1]] = np.round(np.where(np.isnan(found), mean, found))
    return made
