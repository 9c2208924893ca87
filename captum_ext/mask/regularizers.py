"""What a mask should look like: the terms of the objective that need no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from captum_ext._typing import Tensors
from captum_ext.mask.grid import enlarge

__all__ = ["L1", "TV", "BilateralTV", "PublishedBilateralTV", "Regularizer"]


class Regularizer(Protocol):
    """A penalty of each mask of a batch."""

    def __call__(self, maps: Tensors, inputs: Tensors) -> Tensor:
        """Shape (N,); ``maps`` are one per input tensor, (N, 1, h, w) or (N, groups)."""


@dataclass(frozen=True)
class L1:
    """How much the mask deletes: the mean of |1 - M|, times ``weight``.

    Where M is 1 its derivative is 0, so that it does not move a mask that starts at ones.

    >>> L1(10.0)((torch.tensor([[1.0, 0.5]]),), ())
    tensor([2.5000])
    """

    weight: float = 1.0

    def __call__(self, maps: Tensors, inputs: Tensors) -> Tensor:
        return self.weight * (1 - torch.cat([m.flatten(1) for m in maps], 1)).abs().mean(1)


@dataclass(frozen=True)
class TV:
    """Total variation: the mean of |difference|^exponent of vertical neighbors, plus horizontal.

    Feature groups have no neighbors and no variation. Several input tensors are averaged.

    >>> TV(1.0)((torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]),), ())
    tensor([1.])
    """

    weight: float = 20.0
    exponent: float = 2.0

    def __call__(self, maps: Tensors, inputs: Tensors) -> Tensor:
        return self.weight * _average([self._of(m) for m in maps])

    def _of(self, mask: Tensor) -> Tensor:
        if mask.dim() < 4:
            return torch.zeros_like(mask[:, 0])
        return _sum_of_means(lambda d, axis: d.abs() ** self.exponent, mask)


@dataclass(frozen=True)
class BilateralTV:
    """Total variation that costs less along the image's edges (equation 10 of iGOS++).

    ``exp(-dI^2 / sigma^2) * dM^2``, mean over vertical plus horizontal neighbors, where dI^2 is the
    mean over channels of the image's squared difference and M is enlarged to the image. Half of
    it; the other half is the plain total variation of the mask at its own resolution.

    Args:
        weight: factor in the objective.
        sigma: the width of an edge, ``sigma^2`` of the formula, as the published code has it.
        relative: whether ``sigma`` counts in the variance of the example, so that images in
            [0, 1] and normalized ones agree.

    >>> mask = torch.tensor([[[[0.0, 1.0]]]])
    >>> flat, edge = torch.zeros(1, 3, 1, 2), torch.eye(2).expand(1, 3, 2, 2)[:, :, :1]
    >>> BilateralTV(1.0)((mask,), (flat,)), BilateralTV(1.0)((mask,), (edge,))
    (tensor([1.]), tensor([0.5000]))
    """

    weight: float = 20.0
    sigma: float = 0.01
    relative: bool = True

    def __call__(self, maps: Tensors, inputs: Tensors) -> Tensor:
        pairs = zip(maps, inputs, strict=False)
        return self.weight * _average([self._of(m, x) for m, x in pairs])

    def _of(self, mask: Tensor, image: Tensor) -> Tensor:
        if mask.dim() < 4:
            return torch.zeros_like(mask[:, 0])
        sigma = _sigma(self, image)

        def weighted(d: Tensor, axis: int) -> Tensor:
            edge = image.diff(dim=axis).square().mean(1, keepdim=True)
            return (-edge / sigma).exp() * d**2

        return _half_and_half(weighted, mask, image)


@dataclass(frozen=True)
class PublishedBilateralTV(BilateralTV):
    """The bilateral variation of the published code, whose two directions have two formulas.

    Vertical neighbors are weighted by the exponential of the mean of dI over the channels, squared;
    horizontal ones by the mean over the channels of the exponential of dI^2.

    >>> mask, flat = torch.tensor([[[[0.0, 1.0]]]]), torch.zeros(1, 3, 1, 2)
    >>> PublishedBilateralTV(1.0, relative=False)((mask,), (flat,))
    tensor([1.])
    """

    def _of(self, mask: Tensor, image: Tensor) -> Tensor:
        if mask.dim() < 4:
            return torch.zeros_like(mask[:, 0])
        sigma = _sigma(self, image)

        def weighted(d: Tensor, axis: int) -> Tensor:
            step = image.diff(dim=axis)
            if axis == -2:
                edge = (-step.mean(1, keepdim=True).square() / sigma).exp()
            else:
                edge = (-step.square() / sigma).exp().mean(1, keepdim=True)
            return edge * d**2

        return _half_and_half(weighted, mask, image)


def _sigma(regularizer: BilateralTV, image: Tensor) -> Tensor | float:
    if not regularizer.relative:
        return regularizer.sigma
    variance = image.flatten(1).var(1, correction=0).view(-1, 1, 1, 1)
    # A constant image has no edges: any width will do.
    return regularizer.sigma * torch.where(variance > 0, variance, 1.0)


def _half_and_half(
    weighted: Callable[[Tensor, int], Tensor], mask: Tensor, image: Tensor
) -> Tensor:
    large = enlarge(mask, (image.shape[-2], image.shape[-1]))
    plain = _sum_of_means(lambda d, axis: d**2, mask)
    return (plain + _sum_of_means(weighted, large)) / 2


def _sum_of_means(penalty: Callable[[Tensor, int], Tensor], mask: Tensor) -> Tensor:
    """The penalty of the differences along each axis, averaged and added up, shape (N,)."""
    total = mask.new_zeros(mask.shape[0])
    for axis in (-2, -1):
        if mask.shape[axis] > 1:
            total = total + penalty(mask.diff(dim=axis), axis).flatten(1).mean(1)
    return total


def _average(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean(0)
