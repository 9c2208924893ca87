"""`descend`: all masks of a batch optimized together, each with its own step and its own end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Annotated as Shaped

import torch
from torch import Tensor

from captum_ext._numbers import whole
from captum_ext._tensors import asked, numbers
from captum_ext._typing import Masks, PerRow, Rows
from captum_ext.mask.direction import Direction, MaskState
from captum_ext.mask.problem import MaskProblem
from captum_ext.mask.sample import Sample
from captum_ext.mask.step import Step, StepResult
from captum_ext.mask.terms import Term

__all__ = ["Descent", "Progress", "descend"]

# A gradient is counted as one forward and one backward pass, the backward as two forward.
_PER_GRADIENT = 3
_NO_LIMIT = 2**62

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

    masks: Shaped[Tensor, "N masks cells"]
    objective: Shaped[Tensor, "iterations N"]
    forwards: Shaped[Tensor, "iterations N"]
    length: Shaped[Tensor, "iterations N"]
    trials: Shaped[Tensor, "iterations N"]


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
    start: Masks | None = None,
) -> Descent:
    """Optimizes the masks of all examples.

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
        start: the first masks, (N, masks, cells), in [0, 1]; None is ones.

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
    run = _Run(problem, direction, step, n_steps, seed, max_forwards, spent, start)
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
    if max_forwards is not None and whole("max_forwards", max_forwards) < least:
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
        start: Masks | None,
    ) -> None:
        self.problem, self.direction, self.step, self.seed = problem, direction, step, seed
        fractions = direction.fractions(n_steps)
        self.samples = problem.samples(fractions)
        self.per_value = len(problem.terms) * len(fractions)
        self.most = _NO_LIMIT if max_forwards is None else max_forwards
        require_iteration(problem.terms, direction, n_steps, max_forwards, spent)
        self.masks = problem.start() if start is None else start
        self.state = step.start(self.masks)
        n, where = self.masks.shape[0], self.masks.device
        self.active = torch.arange(n, device=where)
        self.spent = torch.full((n,), spent, dtype=torch.long, device=where)
        self.bad = torch.zeros_like(self.spent)
        self.iteration, self.n_iter, self.is_asked, self.n_searched = 0, 0, True, 0
        self.best = _Best(self.masks)
        self.history: list[tuple[Tensor, ...]] = []

    def run(self, n_iter: int, progress: Progress | None) -> Descent:
        self.n_iter = n_iter
        with closing(self.samples):
            for self.iteration in range(n_iter):
                if not len(self.active):
                    break
                here, result = self._iterate()
                rows, self.active = self.active, self._still(result)
                self._record(rows, here, result)
                if progress is not None:
                    progress(self.iteration, here)
        # One rule for every end, be it a budget, the last iteration or patience. Momentum and long
        # steps overshoot, so the best mask is worth keeping; but under noise or shifts of its own
        # each iteration has an objective of its own, and the lowest is the luckiest draw: the
        # start, for a class of probability .01. A search compares within one draw and never rises.
        random = self.problem.noise.std > 0 or self.problem.noise.fresh or self.problem.jitter > 0
        masks = self.masks if random else self.best.of(self.masks)
        return Descent(masks, *(torch.stack(column) for column in zip(*self.history, strict=True)))

    def _iterate(self) -> tuple[MaskState, StepResult]:
        rows = self.active
        sample = self.sample()
        here = self.direction(self.problem, self.masks[rows], rows, sample)
        finite = here.gradient.isfinite().flatten(1).all(1)
        self.note(finite if here.value is None else finite & here.value.isfinite(), rows)
        # Of what is not finite no trial is made, until the device is asked.
        gradient = here.gradient.where(finite.view(-1, 1, 1), 0.0)
        flat = self._flat(here)
        here = replace(here, gradient=gradient.masked_fill(flat, 0.0))
        self.spent[rows] += _PER_GRADIENT * self.per_value
        left = (self.most - self.spent[rows]) // self.per_value
        state = tuple(s[rows] for s in self.state)
        objective = _Objective(self, rows, sample)
        result = self.step(here, objective, state, left)
        self.n_searched = objective.evaluations
        self.spent[rows] += result.trials * self.per_value
        return here, _at_ones(result, flat)

    def sample(self, *trial: int) -> Sample:
        """The sample of this iteration, or of a trial in it; begins with those that follow."""
        found = self.samples(self.seed, self.iteration, *trial, beside=self._beside(*trial))
        self.samples.ahead(self._following())
        return found

    def _beside(self, trial: int = 0) -> Iterator[tuple[int, ...]]:
        """The keys of trials after one that the search before did not have.

        As many as there were such trials before it: a search that goes on may go to its end.
        """
        for after in range(1, trial - self.n_searched):
            yield self.seed, self.iteration, trial + after

    def _following(self) -> Iterator[tuple[int, ...]]:
        """The keys of the samples after this iteration's, in order: as many trials as it had."""
        for iteration in range(self.iteration, self.n_iter):
            if iteration > self.iteration:
                yield self.seed, iteration
            for trial in range(self.n_searched if self.fresh else 0):
                yield self.seed, iteration, trial + 1

    def _flat(self, here: MaskState) -> Tensor:
        """Which masks begin where no cell changes the scores, (M, 1, 1).

        The regularizers alone would lead these to ones, in more iterations than there are, and
        what is left of the start would look like a map of a model that ignores its inputs.
        """
        flat = torch.zeros_like(here.masks[:, :1, :1], dtype=torch.bool)
        if self.iteration > 0 or here.data is None:
            return flat
        return (here.data == 0).flatten(1).all(1).view_as(flat)

    def note(self, finite: Tensor, rows: Tensor) -> None:
        """Remembers of which examples something was not finite, for when the device is asked."""
        self.bad.index_add_(0, rows, (~finite).to(self.bad))
        self.is_asked = False

    def asked(self, *counts: Tensor) -> list[int]:
        """Numbers that lie on the device; raises if anything noted was not finite."""
        n_bad, *found = asked((self.bad > 0).sum(), *counts)
        self.is_asked = True
        if n_bad:
            raise ValueError(
                f"`forward_func` gave nan or infinite values or gradients at iteration "
                f"{self.iteration} for the examples {self.bad.nonzero().flatten().tolist()}: check "
                "the model on these inputs and their baselines, and its type."
            )
        return found

    def _still(self, result: StepResult) -> Tensor:
        """The examples that go on: neither converged nor without the forwards of an iteration."""
        rows, still, count = self.active, ~result.stuck, result.n_stuck
        if self.most < _NO_LIMIT:
            still = still & (self.spent[rows] + _PER_GRADIENT * self.per_value <= self.most)
            count = None
        if count is not None and self.is_asked:
            n_still = len(rows) - count
        else:
            (n_still,) = self.asked(still.sum())
        return rows if n_still == len(rows) else rows[numbers(still, n_still)]

    @property
    def fresh(self) -> bool:
        return self.problem.noise.fresh and self.problem.noise.std > 0

    def _record(self, rows: Tensor, here: MaskState, result: StepResult) -> None:
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


def _at_ones(result: StepResult, flat: Tensor) -> StepResult:
    value = result.value
    if value is not None:
        value = value.masked_fill(flat.flatten(), torch.nan)
    return replace(result, masks=result.masks.masked_fill(flat, 1.0), value=value)


class _Objective:
    """The objective of an iteration, at masks that a step tries.

    A step that asks the device calls ``asked`` for it, so that the descent's question rides along.
    """

    def __init__(self, run: _Run, rows: Tensor, sample: Sample) -> None:
        self.run, self.rows, self.sample, self.evaluations = run, rows, sample, 0

    def __call__(self, masks: Tensor, among: Tensor) -> Tensor:
        self.evaluations += 1
        run, rows, drawn = self.run, self.rows[among], self.sample
        if run.fresh:
            drawn = run.sample(self.evaluations)
        value = run.problem.value(masks, rows, drawn)
        run.note(value.isfinite(), rows)
        return value

    def asked(self, *counts: Tensor) -> list[int]:
        return self.run.asked(*counts)


class _Best:
    """The mask of the lowest objective of each example; the last one where none is known."""

    def __init__(self, masks: Tensor) -> None:
        self.masks = masks.clone()
        self.value = torch.full_like(masks[:, 0, 0], float("inf"), dtype=masks.dtype)

    def see(self, rows: Rows, masks: Masks, value: PerRow) -> None:
        value, before = value.to(self.value), self.value[rows]
        # Of equals the first: where nothing changes the objective, the mask stays the start.
        better = value < before
        kept = torch.where(better.view(-1, 1, 1), masks, self.masks[rows])
        self.masks.index_copy_(0, rows, kept)
        self.value.index_copy_(0, rows, torch.where(better, value, before))

    def of(self, last: Tensor) -> Tensor:
        return torch.where(self.value.isinf().view(-1, 1, 1), last, self.masks)
