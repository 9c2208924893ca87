"""A map for comparison: signed or absolute, clipped and scaled."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_ext._tensors import accumulation_dtype


def signed_map(attributions: Tensor) -> Tensor:
    """Channels of images summed, scaled to [-1, 1] by the largest absolute value.

    A constant map is 0, also one that is constant up to rounding.

    >>> signed_map(torch.tensor([[[[4.0, 2.0]], [[-2.0, -6.0]]]]))
    tensor([[[ 0.5000, -1.0000]]], dtype=torch.float64)
    """
    summed = _summed(attributions, _wide(attributions))
    largest = summed.abs().flatten(1).amax(1).view(-1, *[1] * (summed.dim() - 1))
    return summed / largest.clamp_min(torch.finfo(summed.dtype).tiny)


def absolute_map(attributions: Tensor) -> Tensor:
    """Absolute values summed over channels, cut at the 99th percentile, scaled to [0, 1].

    A constant map is 0, also one that is constant up to rounding.

    >>> absolute_map(torch.tensor([[0.0, -1.0, 2.0, 2.0]]))
    tensor([[0.0000, 0.5000, 1.0000, 1.0000]], dtype=torch.float64)
    """
    summed = _summed(attributions, _wide(attributions).abs())
    flat = summed.flatten(1)
    low = flat.amin(1, keepdim=True)
    # By rank: torch.quantile refuses more than 16 million numbers.
    place = 0.99 * (flat.shape[1] - 1)
    below, above = (flat.kthvalue(1 + int(place) + k, 1).values for k in (0, place % 1 > 0))
    high = (below + (place % 1) * (above - below))[:, None]
    scaled = (flat - low) / (high - low).clamp_min(torch.finfo(flat.dtype).tiny)
    return scaled.clamp(0, 1).view_as(summed)


def _wide(attributions: Tensor) -> Tensor:
    return attributions.detach().to(accumulation_dtype(attributions.device))


def _summed(attributions: Tensor, values: Tensor) -> Tensor:
    """Values summed over channels of images; 0 where they are constant up to rounding.

    A constant map that was enlarged differs by rounding errors, whose ranks are a picture.
    """
    summed, size = (m.sum(1) if m.dim() >= 4 else m for m in (values, _wide(attributions).abs()))
    flat = summed.flatten(1)
    spread = flat.amax(1) - flat.amin(1)
    eps = torch.finfo(attributions.dtype).eps if attributions.is_floating_point() else 0.0
    rounding = 4 * eps * size.flatten(1).amax(1)
    level = (spread <= rounding).view(-1, *[1] * (summed.dim() - 1))
    return torch.where(level, 0.0, summed)
