"""Placements: where on a fixed path the knots stand, each example of a batch with its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

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


# Of float32, as a share of the largest value.
_ROUNDING = 2.0**-20


@dataclass(frozen=True)
class EqualRise:
    """Steps that hold equal shares of the total variation of the model's value along the path.

    Most of an even walk through a saturated softmax lies where nothing changes, and the few steps
    that hold the rise are coarse. So the value is asked at ``n_probes + 1`` even places first, in
    forward passes without a gradient, and the knots equidistribute its change, taken as linear
    between probes (de Boor, "Good approximation by splines with variable knots II", 1974).

    Args:
        n_probes: intervals between the probes, at least 1. Costs one forward pass more.
        floor: share of the steps spread evenly over the path, in [0, 1]: what a probe missed
            between its neighbors gets steps too. At 1 all steps are even.

    >>> def step(places):
    ...     return (torch.as_tensor(places)[:, None] >= 0.5).double()
    >>> EqualRise(n_probes=4, floor=0.0)(step, n_steps=4).flatten()
    tensor([0.0000, 0.3125, 0.3750, 0.4375, 1.0000], dtype=torch.float64)
    """

    n_probes: int = 24
    floor: float = 0.02

    def __post_init__(self) -> None:
        if self.n_probes < 1:
            raise ValueError(
                f"`n_probes` is the number of intervals between values asked along the path, at "
                f"least 1, but got {self.n_probes}."
            )
        if not 0 <= self.floor <= 1:
            raise ValueError(
                f"`floor` is the share of steps spread evenly over the path, in [0, 1], but got "
                f"{self.floor}."
            )

    def __call__(self, values: Values, n_steps: int) -> Tensor:
        """The knots' places, (n_steps + 1, N), each example's from its own values."""
        probes = even(values, self.n_probes)
        seen = values(probes).numpy().T
        levels = even(values, n_steps).numpy()
        places = [
            np.interp(levels, self._rise(np.abs(np.diff(own)), np.abs(own).max()), probes.numpy())
            for own in seen
        ]
        return torch.from_numpy(np.stack(places, axis=1))

    def _rise(self, change: np.ndarray, size: float) -> np.ndarray:
        """How much of all steps lies before each probe, from 0 to 1."""
        spread = np.full(len(change), 1 / len(change))
        # A value that only rounding changes gets even steps, not steps where the rounding is.
        change = change + _ROUNDING * size + np.finfo(float).tiny
        rise = np.cumsum((1 - self.floor) * change / change.sum() + self.floor * spread)
        return np.concatenate([[0.0], rise / rise[-1]])


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
            f"`placement` gives {n_steps + 1} places for {n_steps} steps, ({n_steps + 1},) or "
            f"({n_steps + 1}, {n_examples}) for {n_examples} examples, but got "
            f"{tuple(places.shape)}."
        )
    # Also false for nan.
    rises = bool((places.diff(dim=0) >= 0).all())
    if not (rises and (places[0] == 0).all() and (places[-1] == 1).all()):
        raise ValueError(
            f"`placement` gives places that rise from 0, the path's start, to 1, its end, but got "
            f"{[round(t, 4) for t in places.reshape(n_steps + 1, -1)[:, 0].tolist()]}."
        )
    return places
