"""A map in colors, alone and over its image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor

from captum_ext.blur import GaussianBlur
from captum_ext.maps import PERCENTILE, absolute_map, signed_map
from captum_ext.registry import OVERLAYS

MAP_COLORS = "inferno"
"""The color map of every map."""
_LINES = (
    (0.2, "blue", (0.35, 0.75, 1.0)),
    (0.1, "yellow", (1.0, 0.85, 0.2)),
    (0.05, "red", (1.0, 0.3, 0.2)),
)
"""Which share of the pixels a line surrounds, the strongest last, so that its line lies on top."""


def heat(
    attributions: Tensor, absolute: bool = True, percentile: float = PERCENTILE, least: float = 0.0
) -> Any:
    """A map as an array (H, W): over channels the sum of absolute values, in [0, 1].

    A map is not scaled up from rounding: it is 0 where it has no value above ``least``, or where
    its values differ by no more than rounding.

    Args:
        attributions: (C, H, W).
        absolute: the smallest value is 0; without it the signed sum, in [-1, 1].
        percentile: values above it (in size) are clipped, so that no single pixel rules.
        least: what a value must exceed to say anything, such as half a grey level for masks.

    >>> heat(torch.tensor([[[1.0, -2.0]], [[0.0, 2.0]]]), percentile=100).tolist()
    [[0.0, 1.0]]
    >>> heat(torch.tensor([[[0.0, 6e-8]]]), least=1 / 512).tolist()
    [[0.0, 0.0]]
    """
    read = absolute_map if absolute else signed_map
    return read(attributions.detach().cpu()[None], percentile, least)[0].float().numpy()


def overlay(
    image: Tensor,
    attributions: Tensor,
    colors: str = MAP_COLORS,
    least: float = 0.0,
    style: str = "pixels",
) -> Any:
    """A map over its image in grey, an array (H, W, 3) in [0, 1].

    Args:
        image: (C, H, W) in [0, 1].
        attributions: (C, H, W).
        colors: a matplotlib color map, of all styles but "contour".
        least: as of `heat`.
        style: "pixels", the map as it is; where a picture is printed small, "smooth", under a
            Gaussian, or "contour", lines around the strongest pixels of the smoothed map. Scores
            are never of the smoothed map: `drawn_as` is the sentence that a caption owes.

    Raises:
        ValueError: for another style.

    >>> overlay(torch.rand(3, 4, 5), torch.rand(3, 4, 5)).shape
    (4, 5, 3)
    """
    if style not in OVERLAYS:
        raise ValueError(f"`style` is one of {', '.join(OVERLAYS)}, but got {style!r}.")
    draw = OVERLAYS[style]
    return draw(image, attributions, colors, least)


def pixels(image: Tensor, attributions: Tensor, colors: str, least: float) -> Any:
    """The map as it is, `overlay`'s "pixels"."""
    return _tinted(image, heat(attributions, least=least), colors)


def smooth(image: Tensor, attributions: Tensor, colors: str, least: float) -> Any:
    """The map under a Gaussian, `overlay`'s "smooth"."""
    return _tinted(image, heat(_smoothed(attributions, least)), colors)


def contour(image: Tensor, attributions: Tensor, colors: str, least: float) -> Any:
    """Lines around the strongest pixels of the smoothed map, `overlay`'s "contour"."""
    smoothed = _smoothed(attributions, least)[0]
    picture = 0.85 * _grey(image)
    if heat(smoothed[None]).any():
        for share, _, line in _LINES:
            picture[_edge(_strongest(smoothed, share), _width(smoothed))] = line
    return picture


def drawn_as(style: str, height: int, width: int) -> str:
    """What a caption must say of an overlay; nothing of pixels, which are the map.

    >>> drawn_as("smooth", 224, 224)
    'Overlays are smoothed by 2 px for display; scores are of the unsmoothed map.'
    """
    shares = ", ".join(f"{share * 100:g} % ({name})" for share, name, _ in reversed(_LINES))
    what = {
        "smooth": "are smoothed",
        "contour": f"have lines around the strongest {shares} of pixels, and their equals, "
        "of the map smoothed",
    }
    size = _sigma(height, width)
    scores = "for display; scores are of the unsmoothed map."
    return f"Overlays {what[style]} by {size} px {scores}" if style in what else ""


def _sigma(height: int, width: int) -> int:
    """Of the Gaussian: 2 pixels at 224, so that a map looks alike at any size."""
    return max(1, round(max(height, width) / 112))


def _smoothed(attributions: Tensor, least: float) -> Tensor:
    """Absolute values summed over channels under the Gaussian, (1, H, W); 0 of what is no map."""
    size = attributions.detach().cpu().double().abs().sum(0)[None]
    if not heat(attributions, least=least).any():
        return torch.zeros_like(size)
    sigma = _sigma(*size.shape[1:])
    return GaussianBlur(6 * sigma + 1, float(sigma))(size[None])[0]


def _grey(image: Tensor) -> Any:
    grey = image.detach().float().cpu().mean(0).clamp(0, 1).numpy()
    return grey[..., None].repeat(3, -1)


def _tinted(image: Tensor, picture: Any, colors: str) -> Any:
    strength = picture[..., None]
    tinted = colormaps[colors](picture)[..., :3]
    return np.clip((1 - 0.75 * strength) * _grey(image) * 0.8 + 0.75 * strength * tinted, 0, 1)


def _strongest(smoothed: Tensor, share: float) -> Tensor:
    """Where the map is as strong as this share of its pixels, (H, W)."""
    n = max(1, round(share * smoothed.numel()))
    # On a plateau, as of masks, rounding would draw lines of its own.
    level = smoothed.flatten().topk(n).values[-1] - 1e-6 * smoothed.max()
    return smoothed >= level


def _width(smoothed: Tensor) -> int:
    """Of a line: half the Gaussian's."""
    return max(1, _sigma(*smoothed.shape) // 2)


def _edge(region: Tensor, width: int) -> Any:
    """The pixels of a region within ``width`` of what is outside; a border is no outside."""
    inner = region[None, None].float()
    for _ in range(width):
        padded = torch.nn.functional.pad(inner, (1, 1, 1, 1), value=1.0)
        inner = -torch.nn.functional.max_pool2d(-padded, 3, stride=1)
    return (region & (inner[0, 0] < 1)).numpy()
