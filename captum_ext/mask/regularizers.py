"""What a mask should look like: the terms of the objective that need no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated as Shaped, Protocol

import torch
from torch import Tensor

from captum_ext._numbers import at_least_zero
from captum_ext._typing import Tensors
from captum_ext.mask.grid import enlarge

__all__ = [
    "L1",
    "TV",
    "BilateralTV",
    "EdgeTV",
    "PublishedBilateralTV",
    "PublishedL1",
    "Regularizer",
]


class Regularizer(Protocol):
    """A penalty of each mask of a batch."""

    def __call__(self, maps: Shaped[Tensors, "N ..."], inputs: Tensors) -> Shaped[Tensor, "N"]:
        """Shape (N,); ``maps`` are one per input tensor, (N, 1, h, w) or (N, groups)."""


# The mask size at which a TV weight is stated: 20 is the iGOS++ code's at 28 x 28.
_SIDE = 28


@dataclass(frozen=True)
class L1:
    """How much the mask deletes: the mean of 1 - M, times ``weight``.

    That is |1 - M| on [0, 1], with the derivative ``-weight / cells`` at M = 1 too, so that a step
    away from ones pays for what it deletes.

    >>> L1(10.0)((torch.tensor([[1.0, 0.5]]),), ())
    tensor([2.5000])
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        at_least_zero("l1_weight", self.weight)

    def __call__(self, maps: Shaped[Tensors, "N ..."], inputs: Tensors) -> Shaped[Tensor, "N"]:
        return self.weight * (1 - torch.cat([m.flatten(1) for m in maps], 1)).mean(1)


@dataclass(frozen=True)
class PublishedL1:
    """L1 as the published code has it: the derivative of |1 - M| at M = 1 is torch's 0.

    A mask that starts at ones is then not held back by what it deletes, until the line search
    sees it.

    Args:
        weight: factor in the objective; None is the published one: 1, and 10 for masks of
            224 x 224 cells.

    >>> PublishedL1()((torch.tensor([[1.0, 0.5]]),), ())
    tensor([0.2500])
    """

    weight: float | None = None

    def __post_init__(self) -> None:
        at_least_zero("l1_weight", 0.0 if self.weight is None else self.weight)

    def __call__(self, maps: Shaped[Tensors, "N ..."], inputs: Tensors) -> Shaped[Tensor, "N"]:
        weight = self.weight
        if weight is None:
            weight = 10.0 if maps[0].shape[-2:] == (224, 224) else 1.0
        return weight * (1 - torch.cat([m.flatten(1) for m in maps], 1)).abs().mean(1)


@dataclass(frozen=True)
class TV:
    """Total variation: |difference|^exponent of neighbors, over columns and over rows.

    The sum down a column, averaged over the columns, plus the sum along a row, averaged over the
    rows, divided by 27: at 28 x 28 cells the mean over vertical neighbors plus the mean over
    horizontal ones. The sharp outline of a shape costs the same at every size.
    Feature groups have no neighbors and no variation. Several input tensors are averaged.

    Args:
        weight: factor in the objective.
        exponent: 2, or 3 for the mask of Fong and Vedaldi.
        scaled: whether a shape costs the same at every size. In the published code it does not:
            means over neighbors make a disc 9.5 at 7 x 7, 1.7 at 28 x 28 and .20 at 224 x 224.

    >>> edge = torch.ones(1, 1, 28, 28)
    >>> edge[..., 14:] = 0
    >>> TV(27.0)((edge,), ()), TV(27.0)((edge[..., ::4, ::4],), ())
    (tensor([1.]), tensor([1.]))
    """

    weight: float = 20.0
    exponent: float = 2.0
    scaled: bool = True

    def __post_init__(self) -> None:
        at_least_zero("tv_weight", self.weight)

    def __call__(self, maps: Shaped[Tensors, "N ..."], inputs: Tensors) -> Shaped[Tensor, "N"]:
        return self.weight * _average([self._of(m) for m in maps])

    def _of(self, mask: Tensor) -> Tensor:
        if mask.dim() < 4:
            return torch.zeros_like(mask[:, 0])

        def penalty(d: Tensor, axis: int) -> Tensor:
            return (_outline(mask, axis) if self.scaled else 1.0) * d.abs() ** self.exponent

        return _sum_of_means(penalty, mask)


@dataclass(frozen=True)
class BilateralTV:
    """Half plain total variation, half one that costs less along the image's edges.

    The second half is ``exp(-dI^2 / sigma) * dM^2``, mean over vertical plus horizontal neighbors,
    where dI^2 is the mean over channels of the image's squared difference and M is enlarged to
    the image, as in the published code, and so is the first half, which it takes of the mask at its
    own resolution. An enlarged mask rises in many small steps, so that at 28 x 28 cells on 224 x
    224 pixels the second half is below 1.5 % of the first: with ``weight`` 20 this is `TV` of
    weight 10 in all but name. `EdgeTV` is the formula without the plain half. Both halves are
    scaled so that they cost the same at every mask size as at 28 x 28.

    Args:
        weight: factor in the objective.
        sigma: the width of an edge, ``sigma^2`` of the formula, as the published code has it.
        relative: whether ``sigma`` counts in the variance of the example, so that images in
            [0, 1] and normalized ones agree.

    >>> mask = torch.tensor([[[[0.0, 1.0]]]]).repeat_interleave(14, 3).repeat_interleave(28, 2)
    >>> flat, edge = torch.zeros(1, 3, 28, 28), mask.expand(1, 3, 28, 28)
    >>> BilateralTV(27.0)((mask,), (flat,)), BilateralTV(27.0)((mask,), (edge,))
    (tensor([1.]), tensor([0.5000]))
    """

    weight: float = 20.0
    sigma: float = 0.01
    relative: bool = True

    def __post_init__(self) -> None:
        at_least_zero("tv_weight", self.weight)

    def __call__(self, maps: Shaped[Tensors, "N ..."], inputs: Tensors) -> Shaped[Tensor, "N"]:
        pairs = zip(maps, inputs, strict=False)
        return self.weight * _average(
            [self._of(m, x) if m.dim() == 4 else torch.zeros_like(m[:, 0]) for m, x in pairs]
        )

    def _of(
        self, mask: Shaped[Tensor, "N 1 h w"], image: Shaped[Tensor, "N C H W"]
    ) -> Shaped[Tensor, "N"]:
        def weighted(d: Tensor, axis: int) -> Tensor:
            return self._edge(image, axis) * d**2 / self._scale(mask, axis)

        plain = _sum_of_means(lambda d, axis: self._scale(mask, axis) * d**2, mask)
        return (plain + _sum_of_means(weighted, _large(mask, image))) / 2

    def _scale(self, mask: Tensor, axis: int) -> float:
        # The same variation falls as 1 / size in cells, and rises with size once enlarged.
        return _outline(mask, axis)

    def _edge(self, image: Tensor, axis: int) -> Tensor:
        """What a difference of the mask costs at each pair of neighboring pixels, 1 where flat."""
        return (-image.diff(dim=axis).square().mean(1, keepdim=True) / self._width(image)).exp()

    def _width(self, image: Tensor) -> Tensor | float:
        if not self.relative:
            return self.sigma
        variance = image.flatten(1).var(1, correction=0).view(-1, 1, 1, 1)
        # A constant image has no edges: any width will do.
        return self.sigma * torch.where(variance > 0, variance, 1.0)


@dataclass(frozen=True)
class EdgeTV(BilateralTV):
    """Total variation that costs less along the image's edges (equation 10 of iGOS++).

    ``exp(-dI^2 / sigma^2) * dM^2`` of the mask enlarged to the image, without a plain half, scaled
    so that on a flat image an outline costs what it costs in `TV` (down to three quarters of it, as
    enlarged cells do not end at pixels). For coarse masks no better than `BilateralTV`: with it
    iGOS++ inserts 5 photographs of 112 x 112 pixels -.049 +- .045 better at 7 x 7 cells, +.009 +-
    .044 at 28 x 28 and +.004 +- .083 at 112 x 112, but 6 of 224 x 224 pixels +.064 +- .054 better
    at 224 x 224 cells (paired, 1.96 standard errors).

    >>> mask = torch.tensor([[[[0.0, 1.0]]]]).repeat_interleave(14, 3).repeat_interleave(28, 2)
    >>> flat, edge = torch.zeros(1, 3, 28, 28), mask.expand(1, 3, 28, 28)
    >>> EdgeTV(27.0)((mask,), (flat,)), EdgeTV(27.0)((mask,), (edge,))
    (tensor([1.]), tensor([0.]))
    """

    def _of(
        self, mask: Shaped[Tensor, "N 1 h w"], image: Shaped[Tensor, "N C H W"]
    ) -> Shaped[Tensor, "N"]:
        def weighted(d: Tensor, axis: int) -> Tensor:
            cells, pixels = mask.shape[axis] - 1, image.shape[axis] - 1
            # A step of 1 between two cells is pixels / cells steps of cells / pixels.
            return self._edge(image, axis) * d**2 * (pixels / max(cells, 1)) * pixels / (_SIDE - 1)

        return _sum_of_means(weighted, _large(mask, image))


@dataclass(frozen=True)
class PublishedBilateralTV(BilateralTV):
    """The bilateral variation of the published code, whose two directions have two formulas.

    Vertical neighbors are weighted by the exponential of the mean of dI over the channels, squared;
    horizontal ones by the mean over the channels of the exponential of dI^2. Both halves are means
    at every mask size.

    >>> mask, flat = torch.tensor([[[[0.0, 1.0]]]]), torch.zeros(1, 3, 1, 2)
    >>> PublishedBilateralTV(1.0, relative=False)((mask,), (flat,))
    tensor([1.])
    """

    def _scale(self, mask: Tensor, axis: int) -> float:
        return 1.0

    def _edge(self, image: Tensor, axis: int) -> Tensor:
        step, width = image.diff(dim=axis), self._width(image)
        if axis == -2:
            return (-step.mean(1, keepdim=True).square() / width).exp()
        return (-step.square() / width).exp().mean(1, keepdim=True)


def _outline(mask: Tensor, axis: int) -> float:
    """What turns a mean over neighbors into a sum along a line of cells, 1 at 28 cells."""
    return (mask.shape[axis] - 1) / (_SIDE - 1)


def _large(mask: Tensor, image: Tensor) -> Tensor:
    return enlarge(mask, (image.shape[-2], image.shape[-1]))


def _sum_of_means(penalty: Callable[[Tensor, int], Tensor], mask: Tensor) -> Tensor:
    """The penalty of the differences along each axis, averaged and added up, shape (N,)."""
    total = mask.new_zeros(mask.shape[0])
    for axis in (-2, -1):
        # A single line has no neighbors: their mean would be nan.
        if mask.shape[axis] > 1:
            total = total + penalty(mask.diff(dim=axis), axis).flatten(1).mean(1)
    return total


def _average(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean(0)
