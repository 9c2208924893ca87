"""How far a mask moves: what a step is, and rules of a given step length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated as Shaped, Protocol, TypeAlias

import torch
from torch import Tensor

from captum_ext._typing import Masks, PerRow, Tensors
from captum_ext.mask.direction import MaskState

__all__ = [
    "Objective",
    "Step",
    "StepResult",
    "UpdateRule",
    "adam",
    "fixed",
    "nesterov",
]

Objective: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""The objective, (K,), of trial masks (K, masks, cells) of the examples numbered (K,)."""


@dataclass(frozen=True)
class StepResult:
    """Where a step went.

    Args:
        masks: the new masks, (M, masks, cells), in [0, 1].
        state: what the rule remembers, tensors with M rows.
        trials: objectives evaluated for each example, (M,).
        value: the objective at the new masks, (M,), nan where unknown; or None.
        stuck: examples that have converged, (M,).
        length: the last step length of each example, (M,).
        n_stuck: how many have converged, where the step knows it without asking the device.

    >>> here = MaskState(torch.ones(1, 1, 1), torch.ones(1, 1, 1))
    >>> fixed(0.25)(here, lambda masks, among: masks.sum((1, 2)), (), torch.tensor([0])).length
    tensor([0.2500])
    """

    masks: Masks
    state: Shaped[Tensors, "M ..."]
    trials: PerRow
    value: PerRow | None
    stuck: PerRow
    length: PerRow
    n_stuck: int | None = None


class Step(Protocol):
    """A rule that moves masks against their gradient and keeps them in [0, 1]."""

    def start(self, masks: Tensor) -> Tensors:
        """What the rule remembers before the first iteration, tensors with N rows."""

    def __call__(
        self,
        here: MaskState,
        objective: Objective,
        state: Shaped[Tensors, "M ..."],
        most_trials: PerRow,
    ) -> StepResult:
        """The next masks, with at most so many evaluations of the objective, (M,)."""


@dataclass(frozen=True)
class UpdateRule:
    """A step whose length needs no evaluation: ``move(masks, gradient, state)``.

    Args:
        start: what the rule remembers before the first iteration, tensors with N rows.
        move: from masks, gradient and state to the new masks, before they are clamped, and state.

    >>> down = lambda masks, gradient, state: (masks - gradient.sign(), ())
    >>> signs = UpdateRule(lambda masks: (), down)
    >>> here = MaskState(torch.ones(1, 1, 2), torch.tensor([[[0.1, -0.1]]]))
    >>> signs(here, lambda masks, among: masks.sum((1, 2)), (), torch.tensor([0])).masks
    tensor([[[0., 1.]]])
    """

    start: Callable[[Tensor], Tensors]
    move: Callable[[Tensor, Tensor, Tensors], tuple[Tensor, Tensors]]

    def __call__(
        self,
        here: MaskState,
        objective: Objective,
        state: Shaped[Tensors, "M ..."],
        most_trials: PerRow,
    ) -> StepResult:
        masks, state = self.move(here.masks, here.gradient, state)
        masks = masks.clamp(0, 1)
        moved = (masks - here.masks).abs().amax((1, 2))
        # One flat iteration is no end: the next draws other noise and shifts, and momentum goes on.
        stuck = torch.zeros_like(most_trials, dtype=torch.bool)
        none = torch.zeros_like(most_trials)
        return StepResult(masks, state, none, None, stuck, moved, n_stuck=0)


def fixed(rate: float) -> UpdateRule:
    """Gradient descent with one step length.

    >>> here = MaskState(torch.ones(1, 1, 2), torch.tensor([[[1.0, -1.0]]]))
    >>> step = fixed(0.25)
    >>> step(here, lambda masks, among: masks.sum((1, 2)), (), torch.tensor([0])).masks
    tensor([[[0.7500, 1.0000]]])
    """
    return UpdateRule(_remember_nothing, partial(_against, rate))


def nesterov(rate: float) -> UpdateRule:
    """Nesterov's momentum i / (i + 3), no line search (Jiang, Khorram and Li, BMVC 2023).

    The masks are the points at which the gradient is taken, one extrapolation ahead.

    >>> here, step = MaskState(torch.ones(1, 1, 1), torch.ones(1, 1, 1)), nesterov(0.1)
    >>> step(here, lambda m, a: m, step.start(here.masks), torch.tensor([0])).masks
    tensor([[[0.9000]]])
    """
    return UpdateRule(_remember_last, partial(_ahead, rate))


def adam(rate: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-12) -> UpdateRule:
    """Adam (Kingma and Ba, ICLR 2015): cells move by about ``rate`` whatever their gradient.

    >>> here, step = MaskState(torch.ones(1, 1, 2), torch.tensor([[[0.001, 5.0]]])), adam(0.1)
    >>> step(here, lambda m, a: m, step.start(here.masks), torch.tensor([0])).masks
    tensor([[[0.9000, 0.9000]]])
    """
    return UpdateRule(_remember_moments, partial(_adapted, rate, beta1, beta2, eps))


# Adam's eps is 1e-12 here: beside its usual 1e-8 the cells of a saturated model, whose gradients
# are smaller than that, would hardly move.

# Functions of the module, not closures: a method is sent to another process with its step.


def _remember_nothing(masks: Tensor) -> Tensors:
    return ()


def _against(
    rate: float, masks: Tensor, gradient: Tensor, state: Tensors
) -> tuple[Tensor, Tensors]:
    return masks - rate * gradient, ()


def _remember_last(masks: Tensor) -> Tensors:
    return masks, masks.new_zeros(masks.shape[0])


def _ahead(rate: float, masks: Tensor, gradient: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
    last, i = state
    # Clamped before it is extrapolated: a way beyond an end, which no mask went, is no momentum.
    new = (masks - rate * gradient).clamp(0, 1)
    momentum = (i / (i + 3)).view(-1, 1, 1)
    return new + momentum * (new - last), (new, i + 1)


def _remember_moments(masks: Tensor) -> Tensors:
    return torch.zeros_like(masks), torch.zeros_like(masks), masks.new_zeros(masks.shape[0])


def _adapted(
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    masks: Tensor,
    gradient: Tensor,
    state: Tensors,
) -> tuple[Tensor, Tensors]:
    first, second, i = state[0], state[1], state[2] + 1
    first = beta1 * first + (1 - beta1) * gradient
    second = beta2 * second + (1 - beta2) * gradient**2
    count = i.view(-1, 1, 1)
    mean, spread = first / (1 - beta1**count), (second / (1 - beta2**count)).sqrt()
    return masks - rate * mean / (spread + eps), (first, second, i)
