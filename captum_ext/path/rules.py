"""Rules: how two neighboring knots of a path become credit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_ext._tensors import accumulation_dtype
from captum_ext._typing import Tensors
from captum_ext.path.base import Knot


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


def _is_flat(gradient: Tensors) -> Tensor:
    """Which examples, (N,), have no gradient at all."""
    return _largest(gradient) == 0


def _choose(flat: Tensor, old: Tensors, new: Tensors) -> Tensors:
    # An accelerator is not asked at each step, which would stall it; the CPU is spared the copy.
    if flat.device.type == "cpu" and not flat.any():
        return new
    return tuple(_where(flat, a, b) for a, b in zip(old, new, strict=True))


def _where(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(mask.to(a.device).view(-1, *[1] * (a.dim() - 1)), a, b)


def _largest(gradient: Tensors) -> Tensor:
    return torch.stack([g.abs().flatten(1).amax(1) for g in gradient]).amax(0)


@dataclass(frozen=True)
class ImportantDirection:
    """The rule of IDGI, of which `important_direction` is the one instance.

    >>> a = Knot((torch.zeros(1, 2),), torch.tensor([0.0]), (torch.tensor([[3.0, 1.0]]),))
    >>> b = Knot((torch.ones(1, 2),), torch.tensor([1.0]), (torch.zeros(1, 2),))
    >>> important_direction(a, b)
    (tensor([[0.9000, 0.1000]]),)
    """

    def pairs(self, knots: Iterable[Knot]) -> Iterator[tuple[Knot, Knot]]:
        """Neighboring knots, where the rise of a step without gradient is not lost.

        Example by example, such a step hands its rise on to the next step that has a gradient, and
        at the end of the path to the previous one. Without any gradient the rise stays undivided.
        """
        walk = iter(knots)
        here = next(walk)
        last_gradient = here.gradient
        flat = _is_flat(last_gradient)
        for there in walk:
            yield here, there
            flat = _is_flat(here.gradient)
            last_gradient = _choose(flat, last_gradient, here.gradient)
            here = there.with_value(_where(flat, here.value, there.value))
            end = there
        if flat.any():
            yield Knot(here.point, here.value, last_gradient), end

    def __call__(self, here: Knot, there: Knot) -> Tensors:
        largest = _largest(here.gradient)
        # Squares of small gradients underflow, so the largest entry is scaled to 1 first.
        scale = torch.where(largest > 0, largest, 1)
        squares = tuple((g / _like(scale, g)) ** 2 for g in here.gradient)
        wide = accumulation_dtype(squares[0].device)
        total = torch.stack([s.flatten(1).sum(1, dtype=wide) for s in squares]).sum(0)
        share = (there.value - here.value).to(total) / torch.where(total > 0, total, 1)
        return tuple(s * _like(share, s) for s in squares)


important_direction = ImportantDirection()
"""The rise in value, shared out by squared gradient: the rule of IDGI.

Credit of feature i is ``g_i**2 / sum(g**2) * (f(there) - f(here))``, the sum over all
features of all input tensors (Yang, Wang and Bilgic, CVPR 2023, algorithm 1). A step without
gradient gets no credit here; `integrate` hands its rise on to the next step that has one.
"""


def _like(per_example: Tensor, x: Tensor) -> Tensor:
    return per_example.to(x).view(-1, *[1] * (x.dim() - 1))
