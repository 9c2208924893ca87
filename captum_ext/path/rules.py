"""Rules: how two neighboring knots of a path become credit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from captum_ext._tensors import accumulation_dtype
from captum_ext._typing import Tensors
from captum_ext.path.base import Knot, largest


def riemann(here: Knot, there: Knot) -> Tensors:
    """Gradient times displacement: the rule of Integrated Gradients.

    The gradient is taken where the step starts, a left Riemann sum.

    >>> a = Knot((torch.tensor([[0.0]]),), gradient=(torch.tensor([[2.0]]),))
    >>> b = Knot((torch.tensor([[0.5]]),), gradient=(torch.tensor([[4.0]]),))
    >>> riemann(a, b)
    (tensor([[1.]]),)
    """
    steps = zip(here.gradient, here.point, there.point, strict=True)
    return tuple(g * (b - a) for g, a, b in steps)


def trapezoid(here: Knot, there: Knot) -> Tensors:
    """Mean of the gradients at both ends times displacement.

    Takes one gradient more than `riemann`, at the path's end.

    >>> a = Knot((torch.tensor([[0.0]]),), gradient=(torch.tensor([[2.0]]),))
    >>> b = Knot((torch.tensor([[0.5]]),), gradient=(torch.tensor([[4.0]]),))
    >>> trapezoid(a, b)
    (tensor([[1.5000]]),)
    """
    steps = zip(here.gradient, there.gradient, here.point, there.point, strict=True)
    return tuple((g + h) / 2 * (b - a) for g, h, a, b in steps)


class SharedRise(ABC):
    """A rule that shares out each step's rise in value, so that credit sums to the whole rise."""

    depends_on_units: ClassVar[bool] = False
    """Whether a feature in other units, as centimeters for meters, gets another share."""

    @abstractmethod
    def weights(self, here: Knot, there: Knot) -> Tensors:
        """What each feature's share is proportional to, at least 0, in the shape of the points."""

    @abstractmethod
    def is_flat(self, here: Knot, there: Knot) -> Tensor:
        """For which examples, (N,), all weights are 0."""

    def hands_on(self, here: Knot, there: Knot) -> Tensor:
        """For which examples, (N,), the rise had better be shared by another step's weights."""
        return self.is_flat(here, there)

    def pairs(self, knots: Iterable[Knot]) -> Iterator[tuple[Knot, Knot]]:
        """Neighboring knots, where the rise of a step that `hands_on` is not lost.

        Example by example, such a step hands its rise on to the next step, and at the end of the
        path to the last one with weights. Without any weights the rise stays undivided.
        """
        walk = iter(knots)
        here = next(walk)
        last: tuple[Tensors, ...] = (here.gradient, here.point, here.point)
        for there in walk:
            handed = self.hands_on(here, there)
            reached = there.with_value(_where(handed, here.value, there.value))
            yield here, reached
            step = (here.gradient, here.point, there.point)
            last = _choose(self.is_flat(here, there), last, step)
            here, end = reached, there
        if handed.any():
            gradient, start, stop = last
            # The last step with weights ends where there are none.
            yield Knot(start, here.value, gradient), Knot(stop, end.value, gradient)

    def __call__(self, here: Knot, there: Knot) -> Tensors:
        weights = self.weights(here, there)
        total = _total(weights)
        share = (there.value - here.value).to(total) / torch.where(total > 0, total, 1)
        return tuple(w * _like(share, w) for w in weights)


@dataclass(frozen=True)
class ImportantDirection(SharedRise):
    """The rule of IDGI, of which `important_direction` is the one instance.

    >>> a = Knot((torch.zeros(1, 2),), torch.tensor([0.0]), (torch.tensor([[3.0, 1.0]]),))
    >>> b = Knot((torch.ones(1, 2),), torch.tensor([1.0]), (torch.zeros(1, 2),))
    >>> important_direction(a, b)
    (tensor([[0.9000, 0.1000]]),)
    """

    depends_on_units = True

    def weights(self, here: Knot, there: Knot) -> Tensors:
        """Squares of the gradient where the step starts."""
        return tuple(g**2 for g in _scaled(here))

    def is_flat(self, here: Knot, there: Knot) -> Tensor:
        """Where there is no gradient."""
        return here.steepest == 0


important_direction = ImportantDirection()
"""The rise in value, shared out by squared gradient: the rule of IDGI.

Credit of feature i is ``g_i**2 / sum(g**2) * (f(there) - f(here))``, the sum over all
features of all input tensors (Yang, Wang and Bilgic, CVPR 2023, algorithm 1). A step without
gradient gets no credit here; `integrate` hands its rise on to the next step that has one.
"""


@dataclass(frozen=True)
class TwoSidedDirection(SharedRise):
    """The rule of which `two_sided_direction` is the one instance.

    >>> a = Knot((torch.zeros(1, 2),), torch.tensor([0.0]), (torch.tensor([[3.0, 1.0]]),))
    >>> b = Knot((torch.ones(1, 2),), torch.tensor([1.0]), (torch.tensor([[5.0, 5.0]]),))
    >>> two_sided_direction(a, b)
    (tensor([[0.7000, 0.3000]]),)
    """

    depends_on_units = True

    def weights(self, here: Knot, there: Knot) -> Tensors:
        """Both ends' shares of squared gradient, added."""
        ends = zip(_shares(here), _shares(there), strict=True)
        return tuple(a + b for a, b in ends)

    def is_flat(self, here: Knot, there: Knot) -> Tensor:
        """Where there is no gradient at either end."""
        return (here.steepest == 0) & (there.steepest == 0)


two_sided_direction = TwoSidedDirection()
"""The rise in value, shared out by the mean of both ends' shares of squared gradient.

Another quadrature of what `important_direction` approximates, the integral over f of
``g_i**2 / sum(g**2)``: trapezoids instead of a left sum. Both come to the same map as steps become
short, this one sooner. It takes one gradient more, at the path's end. Where one end has no
gradient the other's shares count alone.
"""


@dataclass(frozen=True)
class AlignedContribution(SharedRise):
    """The rule of which `aligned_contribution` is the one instance.

    >>> a = Knot((torch.zeros(1, 3),), torch.tensor([0.0]), (torch.tensor([[3.0, 1.0, -9.0]]),))
    >>> b = Knot((torch.tensor([[1.0, 3.0, 1.0]]),), torch.tensor([1.0]))
    >>> aligned_contribution(a, b)
    (tensor([[0.5000, 0.5000, 0.0000]]),)
    """

    def weights(self, here: Knot, there: Knot) -> Tensors:
        """Contributions that have the rise's sign; where none has it, the sizes of all."""
        contributions = _contributions(here, there)
        with_it = _aligned(contributions, here, there)
        sizes = tuple(c.abs() for c in contributions)
        (chosen,) = _choose(largest(with_it) == 0, (sizes,), (with_it,))
        return chosen

    def is_flat(self, here: Knot, there: Knot) -> Tensor:
        """Where no feature contributes."""
        return largest(_contributions(here, there)) == 0

    def hands_on(self, here: Knot, there: Knot) -> Tensor:
        """Where no feature pushes with the rise, which is then the work of curvature alone."""
        return largest(_aligned(_contributions(here, there), here, there)) == 0


aligned_contribution = AlignedContribution()
"""The rise in value, shared out among the features that push with it: this package's own rule.

The contribution of feature i to a step is ``c_i = g_i * (there_i - here_i)``, as in Integrated
Gradients, and its credit ``p_i / sum(p) * (f(there) - f(here))`` with ``p_i = max(c_i, 0)``
where the value rises and ``max(-c_i, 0)`` where it falls. Credit has the sign of what it brought
about, sums to the whole rise exactly, does not depend on features' units, and is nothing for a
feature that doesn't move; what cancels in the sum of Integrated Gradients never enters. A step in
which no feature pushes with the rise hands it on to the next step, in `integrate`.
"""


def _contributions(here: Knot, there: Knot) -> Tensors:
    """Gradient times displacement, up to a factor per example."""
    steps = zip(_scaled(here), here.point, there.point, strict=True)
    return tuple(g * (b - a) for g, a, b in steps)


def _aligned(contributions: Tensors, here: Knot, there: Knot) -> Tensors:
    sign = (there.value - here.value).sign()
    return tuple((c * _like(sign, c)).relu() for c in contributions)


def _scaled(knot: Knot) -> Tensors:
    """The gradient with its largest entry made 1: squares of small ones would underflow."""
    scale = torch.where(knot.steepest > 0, knot.steepest, 1)
    return tuple(g / _like(scale, g) for g in knot.gradient)


def _shares(knot: Knot) -> Tensors:
    """Each feature's share of the squared gradient: they sum to 1, or are 0 without a gradient."""
    squares = tuple(g**2 for g in _scaled(knot))
    total = _total(squares)
    return tuple(w / _like(torch.where(total > 0, total, 1), w) for w in squares)


def _total(weights: Tensors) -> Tensor:
    wide = accumulation_dtype(weights[0].device)
    each = [w.reshape(len(w), -1).sum(1, dtype=wide) for w in weights]
    return each[0] if len(each) == 1 else torch.stack(each).sum(0)


def _choose(
    mask: Tensor, instead: tuple[Tensors, ...], given: tuple[Tensors, ...]
) -> tuple[Tensors, ...]:
    # An accelerator is not asked at each step, which would stall it; the CPU is spared the copy.
    if mask.device.type == "cpu" and not mask.any():
        return given
    return tuple(
        tuple(_where(mask, a, b) for a, b in zip(*pair, strict=True))
        for pair in zip(instead, given, strict=True)
    )


def _where(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(mask.to(a.device).view(-1, *[1] * (a.dim() - 1)), a, b)


def _like(per_example: Tensor, x: Tensor) -> Tensor:
    return per_example.to(x).view(-1, *[1] * (x.dim() - 1))
