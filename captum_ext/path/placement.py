"""Placements: where on a fixed path the knots stand, each example of a batch with its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from captum_ext._numbers import real, whole
from captum_ext._text import number_of

Places: TypeAlias = Tensor | Sequence[float]
"""Where on a path, from 0 to 1: (K,) for all examples, or (K, N), for each example its own."""

Values: TypeAlias = Callable[[Places], Tensor]
"""The model's values at K places, (K, N) in float64: forward passes without a graph."""


class Placement(Protocol):
    """Says where on a path whose points are known beforehand the knots stand: a function will do.

    It may ask the model for values along the path; each example's knots must follow from its own
    values alone, so that a map does not depend on the batch.

    >>> def late(values, n_steps):
    ...     return [(k / n_steps) ** 0.5 for k in range(n_steps + 1)]
    >>> [round(t, 2) for t in late(None, 4)]
    [0.0, 0.5, 0.71, 0.87, 1.0]
    """

    def __call__(self, values: Values, n_steps: int) -> Places:
        """The knots' places.

        Args:
            values: the model's values at K places of the path, (K,) or (K, N), as (K, N).
            n_steps: steps between the knots, at least 1.

        Returns:
            ``n_steps + 1`` places that rise from 0 to 1: (n_steps + 1,) for all examples, or
            (n_steps + 1, N), each example's own.
        """


def even(values: Values, n_steps: int) -> Tensor:
    """Equal steps, those of the papers; asks the model nothing.

    >>> even(None, 4)
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000], dtype=torch.float64)
    """
    del values
    return torch.arange(n_steps + 1, dtype=torch.float64) / n_steps


# Of float32 over a whole path, as a share of the largest value; and where that is 0.
_ROUNDING, _TINY = 2.0**-16, 1e-200
# Of the second half of the probes, spread evenly: the first half may have missed a rise.
_PROBES_FLOOR = 0.1


@dataclass(frozen=True)
class EqualRise:
    """Short steps where the model's value changes, long ones where it does not.

    Most of an even walk through a saturated softmax lies where nothing changes, and the few steps
    that hold the rise are coarse. So the value is asked first, in forward passes without a
    gradient: at even places, and as often again where these found it to change. The knots then
    equidistribute ``|f'| ** power`` along the path, f taken as linear between probes (de Boor,
    "Good approximation by splines with variable knots II", 1974).

    Without ``n_steps`` it is 16 steps: with the probes 74 forward passes for IDGI, a gradient
    counted as three. ``benchmarks/placement.py`` chose the defaults on 12 photographs. On 49 others
    the mean (least) cosine to the map of 960 equal steps is then .970 (.772) for IDGI over IG and
    .976 (.846) over Blur IG, where equal steps at twice (.886) and four times (.858) the cost
    give less; Blur IG with ``power=0.5`` reaches .980 (.912), with 96 equal steps .938.

    Args:
        n_probes: intervals between the probes, at least 1. Costs one forward pass more.
        floor: share of the steps spread evenly over the path, in [0, 1]: what the probes missed
            gets steps too. At 1 all steps are even.
        power: in (0, 1]. At 1 every step holds the same share of the value's total variation;
            lower, slow changes get more of the steps. IDGI, which shares out rises, does best at
            .75 to 1; a sum of gradients, as Blur IG, at .5.

    >>> def step(places):
    ...     return (torch.as_tensor(places).view(len(places), -1) >= 0.5).double()
    >>> EqualRise(n_probes=5, floor=0.0, power=1.0)(step, n_steps=4).flatten()
    tensor([0.0000, 0.4702, 0.5000, 0.5298, 1.0000], dtype=torch.float64)
    """

    default_steps: ClassVar[int] = 16
    n_probes: int = 24
    floor: float = 0.02
    power: float = 0.75

    def __post_init__(self) -> None:
        if whole("n_probes", self.n_probes) < 1:
            raise ValueError(
                f"`n_probes` is the number of intervals between values asked along the path, at "
                f"least 1, but got {self.n_probes}."
            )
        if not 0 <= real("floor", self.floor) <= 1:
            raise ValueError(
                f"`floor` is the share of steps spread evenly over the path, in [0, 1], but got "
                f"{self.floor}."
            )
        if not 0 < real("power", self.power) <= 1:
            raise ValueError(
                f"`power` is what the slope is raised to, in (0, 1], but got {self.power}."
            )

    def __call__(self, values: Values, n_steps: int) -> Tensor:
        """The knots' places, (n_steps + 1, N), each example's from its own values."""
        n_more = self.n_probes // 2
        first = even(values, self.n_probes - n_more)
        seen = values(first)
        probes = first[:, None].expand_as(seen)
        if n_more:
            inner = even(values, n_more + 1)[1:-1]
            more = self._places(inner, probes, seen, _PROBES_FLOOR)
            probes, order = torch.cat([probes, more]).sort(dim=0)
            seen = torch.cat([seen, values(more)]).gather(0, order)
        return self._places(even(values, n_steps), probes, seen, self.floor)

    def _places(self, levels: Tensor, probes: Tensor, seen: Tensor, floor: float) -> Tensor:
        """Where so much of each example's steps lies behind, (levels, N)."""
        # One by one, as vector instructions round otherwise where a batch is wide.
        each = zip(probes.T.numpy().copy(), seen.T.numpy().copy(), strict=True)
        found = [np.interp(levels.numpy(), self._rise(t, f, floor), t) for t, f in each]
        return torch.from_numpy(np.stack(found, axis=1))

    def _rise(self, probes: np.ndarray, seen: np.ndarray, floor: float) -> np.ndarray:
        """How much of an example's steps lies before each probe, from 0 to 1."""
        length = np.diff(probes)
        # A value that only rounding changes gets even steps, not steps where the rounding is.
        change = np.abs(np.diff(seen)) + (_ROUNDING * np.abs(seen).max() + _TINY) * length
        # The slope's power over the interval's length.
        mass = change**self.power * length ** (1 - self.power)
        rise = np.cumsum((1 - floor) * mass / mass.sum() + floor * length)
        return np.append(0.0, rise / rise[-1])


EQUAL_RISE = EqualRise(power=0.5)
"""For sums of gradients and IDGI alike, so that they share a walk: ``--placement equal-rise``."""


def as_places(places: Places) -> Tensor:
    """Places as a tensor in float64 on the CPU: some devices have no float64."""
    return torch.as_tensor(places, dtype=torch.float64, device="cpu")


def placed(placement: Placement, values: Values, n_steps: int, n_examples: int) -> Tensor:
    """A placement's places, checked: (n_steps + 1,), or (n_steps + 1, N).

    Raises:
        ValueError: if these are no ``n_steps + 1`` places that rise from 0 to 1.
    """
    places = as_places(placement(values, n_steps))
    if places.shape not in {(n_steps + 1,), (n_steps + 1, n_examples)}:
        raise ValueError(
            f"`placement` gives {n_steps + 1} places for {number_of(n_steps, 'step')}, "
            f"({n_steps + 1},) or ({n_steps + 1}, {n_examples}) for "
            f"{number_of(n_examples, 'example')}, but got {tuple(places.shape)}."
        )
    # Also false for nan.
    rises = bool((places.diff(dim=0) >= 0).all())
    if not (rises and (places[0] == 0).all() and (places[-1] == 1).all()):
        raise ValueError(
            f"`placement` gives places that rise from 0, the path's start, to 1, its end, but got "
            f"{[round(t, 4) for t in places.reshape(n_steps + 1, -1)[:, 0].tolist()]}."
        )
    return places
