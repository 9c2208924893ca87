"""`descend`: all masks of a batch optimized together, each with its own step and its own end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_ext.mask.direction import Direction, MaskState
from captum_ext.mask.problem import MaskProblem
from captum_ext.mask.step import Step, StepResult
from captum_ext.mask.terms import Term

__all__ = ["Descent", "Progress", "descend"]

# A gradient is counted as one forward and one backward pass, the backward as two forward.
_PER_GRADIENT = 3

Progress = Callable[[int, MaskState], None]
"""Told the iteration and what is known of the examples still moving."""


@dataclass(frozen=True)
class Descent:
    """What a descent found and what it cost, iteration by iteration.

    Args:
        masks: the masks found, (N, masks, cells), in [0, 1]; 1 keeps. Those of the lowest objective
            seen if nothing is random, else the last ones.
        objective: before each iteration, (iterations, N); nan once an example has stopped.
        forwards: model evaluations so far after each iteration, (iterations, N), a gradient
            counted as three.
        length: the step lengths taken, (iterations, N), 0 where a mask jumped; nan once an example
            has stopped.
        trials: evaluations of the objective that the line search spent, (iterations, N).
    """

    masks: Tensor
    objective: Tensor
    forwards: Tensor
    length: Tensor
    trials: Tensor


def descend(
    problem: MaskProblem,
    direction: Direction,
    step: Step,
    n_iter: int,
    n_steps: int = 20,
    seed: int = 0,
    max_forwards: int | None = None,
    progress: Progress | None = None,
    spent: int = 0,
) -> Descent:
    """Optimizes the masks of all examples from ones.

    Args:
        problem: what is minimized.
        direction: which way.
        step: how far.
        n_iter: most iterations of an example.
        n_steps: fractions of the mask at which an integrated gradient reads the scores.
        seed: decides the noise.
        max_forwards: most model evaluations of an example.
        progress: told the objective at each iteration.
        spent: model evaluations of each example so far, which count in the history and the limit.

    Raises:
        ValueError: if the objective is not a number, or ``max_forwards`` allows no iteration.

    >>> from captum_ext import Score
    >>> from captum_ext.mask import L1, DeletionTerm, Gradient, MaskGrid, adam
    >>> image = torch.rand(2, 3, 4, 4)
    >>> score = Score(lambda x: x[:, :, 1, 1].mean(1), (image,))
    >>> black = (torch.zeros_like(image),)
    >>> problem = MaskProblem(score, (image,), black, MaskGrid(4), (DeletionTerm(),), (L1(0.1),))
    >>> found = descend(problem, Gradient(), adam(0.1), n_iter=20)
    >>> found.masks.argmin(2).flatten()  # cell (1, 1) of 4 x 4
    tensor([5, 5])
    """
    run = _Run(problem, direction, step, n_steps, seed, max_forwards, spent)
    return run.run(n_iter, progress)


def require_iteration(
    terms: Sequence[Term],
    direction: Direction,
    n_steps: int,
    max_forwards: int | None,
    spent: int = 0,
) -> None:
    """Raises ValueError if ``max_forwards`` allows no iteration; the model is not asked."""
    least = spent + _PER_GRADIENT * len(terms) * len(direction.fractions(n_steps))
    if max_forwards is not None and max_forwards < least:
        raise ValueError(
            f"`max_forwards` must allow one iteration, whose gradient takes {least} model "
            f"evaluations, but got {max_forwards}: raise it or lower `n_steps`."
        )


class _Run:
    def __init__(
        self,
        problem: MaskProblem,
        direction: Direction,
        step: Step,
        n_steps: int,
        seed: int,
        max_forwards: int | None,
        spent: int,
    ) -> None:
        self.problem, self.direction, self.step, self.seed = problem, direction, step, seed
        self.fractions = direction.fractions(n_steps)
        self.per_value = len(problem.terms) * len(self.fractions)
        self.most = 2**62 if max_forwards is None else max_forwards
        require_iteration(problem.terms, direction, n_steps, max_forwards, spent)
        self.masks = problem.start()
        self.state = step.start(self.masks)
        n, where = self.masks.shape[0], self.masks.device
        self.active = torch.arange(n, device=where)
        self.spent = torch.full((n,), spent, dtype=torch.long, device=where)
        self.best = _Best(self.masks)
        self.history: list[tuple[Tensor, ...]] = []

    def run(self, n_iter: int, progress: Progress | None) -> Descent:
        for iteration in range(n_iter):
            self.active = self.active[
                self.spent[self.active] + _PER_GRADIENT * self.per_value <= self.most
            ]
            if not len(self.active):
                break
            here, result = self._iterate(iteration)
            self._record(here, result)
            if progress is not None:
                progress(iteration, here)
            self.active = self.active[~result.stuck]
        # One rule for every end, be it a budget, the last iteration or patience. Momentum and long
        # steps overshoot, so the best mask is worth keeping; but under noise or shifts of its own
        # each iteration has an objective of its own, and the lowest is the luckiest draw: the
        # start, for a class of probability .01. A search compares within one draw and never rises.
        random = self.problem.noise.std > 0 or self.problem.noise.fresh or self.problem.jitter > 0
        masks = self.masks if random else self.best.of(self.masks)
        return Descent(masks, *(torch.stack(column) for column in zip(*self.history, strict=True)))

    def _iterate(self, iteration: int) -> tuple[MaskState, StepResult]:
        rows = self.active
        sample = self.problem.sample(self.fractions, self.seed, iteration)
        here = self.direction(self.problem, self.masks[rows], rows, sample)
        _check(here.value if here.value is not None else here.gradient.sum((1, 2)), iteration, rows)
        self.spent[rows] += _PER_GRADIENT * self.per_value
        evaluations = 0

        def objective(masks: Tensor, among: Tensor) -> Tensor:
            nonlocal evaluations
            evaluations += 1
            fresh = (self.seed, iteration, evaluations)
            drawn = self.problem.sample(self.fractions, *fresh) if self.fresh else sample
            value = self.problem.value(masks, rows[among], drawn)
            _check(value, iteration, rows[among])
            return value

        left = (self.most - self.spent[rows]) // self.per_value
        result = self.step(here, objective, tuple(s[rows] for s in self.state), left)
        self.spent[rows] += result.trials * self.per_value
        return here, result

    @property
    def fresh(self) -> bool:
        return self.problem.noise.fresh and self.problem.noise.std > 0

    def _record(self, here: MaskState, result: StepResult) -> None:
        rows = self.active
        if here.value is not None:
            self.best.see(rows, here.masks, here.value)
        if result.value is not None:
            self.best.see(rows, result.masks, result.value)
        self.masks = self.masks.index_copy(0, rows, result.masks)
        pairs = zip(self.state, result.state, strict=True)
        self.state = tuple(old.index_copy(0, rows, new) for old, new in pairs)
        nothing = torch.full_like(self.masks[:, 0, 0], float("nan"))
        value = nothing[rows] if here.value is None else here.value.to(nothing)
        self.history.append(
            (
                nothing.index_copy(0, rows, value),
                self.spent.clone(),
                nothing.index_copy(0, rows, result.length.to(nothing)),
                torch.zeros_like(self.spent).index_copy(0, rows, result.trials),
            )
        )


class _Best:
    """The mask of the lowest objective of each example; the last one where none is known."""

    def __init__(self, masks: Tensor) -> None:
        self.masks = masks.clone()
        self.value = torch.full_like(masks[:, 0, 0], float("inf"), dtype=masks.dtype)

    def see(self, rows: Tensor, masks: Tensor, value: Tensor) -> None:
        better = value.to(self.value) < self.value[rows]
        self.masks[rows[better]] = masks[better]
        self.value[rows[better]] = value.to(self.value)[better]

    def of(self, last: Tensor) -> Tensor:
        return torch.where(self.value.isinf().view(-1, 1, 1), last, self.masks)


def _check(value: Tensor, iteration: int, rows: Tensor) -> None:
    bad = ~torch.isfinite(value)
    if bad.any():
        raise ValueError(
            f"`forward_func` gave nan or inf at iteration {iteration} for the examples "
            f"{rows[bad].tolist()}: check the model on these inputs and baselines, and its type."
        )
