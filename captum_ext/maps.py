"""A map for the eye or for comparison: signed or absolute, clipped and scaled."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_ext._tensors import accumulation_dtype

PERCENTILE = 99.0
"""Of absolute maps: values above it are clipped, so that no single pixel rules."""


def signed_map(attributions: Tensor, percentile: float = 100.0, least: float = 0.0) -> Tensor:
    """Channels of images summed, scaled to [-1, 1] by the largest absolute value.

    What is no map is 0: one that is constant up to rounding, or without a value above ``least``.

    Args:
        attributions: (N, C, H, W), or without channels (N, features) or (N, C, length).
        percentile: of the absolute values; larger ones are clipped.
        least: what a value must exceed in size to say anything.

    >>> signed_map(torch.tensor([[[[4.0, 2.0]], [[-2.0, -6.0]]]]))
    tensor([[[ 0.5000, -1.0000]]], dtype=torch.float64)
    """
    summed = _summed(attributions, _wide(attributions), least)
    high = _at(summed.abs().flatten(1), percentile).view(-1, *[1] * (summed.dim() - 1))
    return (summed / high.clamp_min(torch.finfo(summed.dtype).tiny)).clamp(-1, 1)


def absolute_map(
    attributions: Tensor, percentile: float = PERCENTILE, least: float = 0.0
) -> Tensor:
    """Absolute values summed over channels, from the least to the 99th percentile, in [0, 1].

    Arguments and what is no map as of `signed_map`. The least is 0, since RISE's maps lie far
    above 0.

    >>> absolute_map(torch.tensor([[0.0, -1.0, 2.0, 2.0]]))
    tensor([[0.0000, 0.5000, 1.0000, 1.0000]], dtype=torch.float64)
    >>> absolute_map(torch.tensor([[0.0, 6e-8]]), least=1 / 512)
    tensor([[0., 0.]], dtype=torch.float64)
    """
    summed = _summed(attributions, _wide(attributions).abs(), least)
    flat = summed.flatten(1)
    flat = flat - flat.amin(1, keepdim=True)
    scaled = flat / _at(flat, percentile)[:, None].clamp_min(torch.finfo(flat.dtype).tiny)
    return scaled.clamp(0, 1).view_as(summed)


def _at(flat: Tensor, percentile: float) -> Tensor:
    """A percentile of each row, (N,), by linear interpolation as numpy's.

    The largest value where the percentile is 0: few pixels of a sparse map are above 0, and
    dividing by 0 would make them all alike.
    """
    # By rank: torch.quantile refuses more than 16 million numbers.
    place = percentile / 100 * (flat.shape[1] - 1)
    below, above = (flat.kthvalue(1 + int(place) + k, 1).values for k in (0, place % 1 > 0))
    found = below + (place % 1) * (above - below)
    return torch.where(found > 0, found, flat.amax(1))


def _wide(attributions: Tensor) -> Tensor:
    return attributions.detach().to(accumulation_dtype(attributions.device))


def _summed(attributions: Tensor, values: Tensor, least: float) -> Tensor:
    """Values summed over channels of images; 0 where they are no map.

    A constant map that was enlarged differs by rounding errors, whose ranks are a picture.
    """
    sizes = _wide(attributions).abs()
    summed, size = (m.sum(1) if m.dim() >= 4 else m for m in (values, sizes))
    flat = summed.flatten(1)
    spread = flat.amax(1) - flat.amin(1)
    eps = torch.finfo(attributions.dtype).eps if attributions.is_floating_point() else 0.0
    rounding = 4 * eps * size.flatten(1).amax(1)
    nothing = (spread <= rounding) | (sizes.flatten(1).amax(1) <= least)
    return torch.where(nothing.view(-1, *[1] * (summed.dim() - 1)), 0.0, summed)
