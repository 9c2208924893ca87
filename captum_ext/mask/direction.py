"""Which way a mask should move: the gradient of its objective, read at one or many fractions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated as Shaped, Protocol

from torch import Tensor

from captum_ext._typing import Masks, PerRow, Rows
from captum_ext.mask.problem import MaskProblem
from captum_ext.mask.sample import Sample

__all__ = ["Direction", "Gradient", "IntegratedGradient", "MaskState"]


@dataclass(frozen=True)
class MaskState:
    """What is known at the current masks.

    Args:
        masks: shape (M, masks, cells).
        gradient: the direction of steepest ascent, in the masks' shape.
        value: the objective, (M,), or None where only gradients are known.
        scores: the scores, (terms, M, fractions), or None.
        data: the part of the gradient that the scores give, in the masks' shape, or None.

    >>> import torch
    >>> MaskState(torch.ones(1, 1, 4), torch.zeros(1, 1, 4)).value is None
    True
    """

    masks: Masks
    gradient: Masks
    value: PerRow | None = None
    scores: Shaped[Tensor, "terms M fractions"] | None = None
    data: Masks | None = None


class Direction(Protocol):
    """Where along the way from nothing to the mask the objective is read, and its gradient."""

    def fractions(self, n_steps: int) -> tuple[float, ...]:
        """The fractions of the mask at which the scores are read."""

    def __call__(self, problem: MaskProblem, masks: Masks, rows: Rows, sample: Sample) -> MaskState:
        """The objective and its gradient at the masks."""


@dataclass(frozen=True)
class Gradient:
    """The gradient at the mask itself (Fong and Vedaldi, ICCV 2017).

    >>> Gradient().fractions(20)
    (1.0,)
    """

    def fractions(self, n_steps: int) -> tuple[float, ...]:
        return (1.0,)

    def __call__(self, problem: MaskProblem, masks: Masks, rows: Rows, sample: Sample) -> MaskState:
        return _state_at(problem, masks, rows, sample, 1.0)


@dataclass(frozen=True)
class IntegratedGradient:
    """The gradient of the score's mean over s/S * M, s = 1..S (equation 8 of I-GOS).

    A mask moves out of the plateaus of a saturated model, and the line search sees that mean too.

    Args:
        data_weight: factor of the scores' gradient alone; the published iGOS++ halves it.

    >>> IntegratedGradient().fractions(4)
    (0.25, 0.5, 0.75, 1.0)
    """

    data_weight: float = 1.0

    def fractions(self, n_steps: int) -> tuple[float, ...]:
        return tuple(s / n_steps for s in range(1, n_steps + 1))

    def __call__(self, problem: MaskProblem, masks: Masks, rows: Rows, sample: Sample) -> MaskState:
        return _state_at(problem, masks, rows, sample, self.data_weight)


def _state_at(
    problem: MaskProblem, masks: Tensor, rows: Tensor, sample: Sample, data_weight: float
) -> MaskState:
    scores, data = problem.scores_and_gradient(masks, rows, sample)
    penalty, smooth = problem.penalty_and_gradient(masks, rows)
    value = None if scores is None else problem.objective(scores, penalty)
    return MaskState(masks, data_weight * data + smooth, value, scores, data)
