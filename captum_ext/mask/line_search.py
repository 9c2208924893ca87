"""How far a mask moves: line searches, which evaluate the objective at trial masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated as Shaped

import torch
from torch import Tensor

from captum_ext._tensors import asked, numbers
from captum_ext._typing import Masks, PerRow, Tensors
from captum_ext.mask.direction import MaskState
from captum_ext.mask.step import Objective, StepResult

__all__ = ["Backtracking", "PublishedBacktracking"]


@dataclass(frozen=True)
class Backtracking:
    """Projected line search that starts from the last accepted step (Armijo's condition).

    A step ``a`` is accepted when the objective falls by at least ``beta * <gradient, M - M_a>``,
    ``M_a = clamp(M - a * gradient, 0, 1)``, else multiplied by ``shrink``. The next iteration
    starts from the accepted step times ``grow``, so that most steps need one trial.

    A mask of ones is a local minimum as soon as no cell alone lowers the score by more than it
    costs, which is the rule for tables of a model that is sure: deleting any one column changes
    nothing, deleting ten changes all. The first search, and each one without an accepted step,
    therefore also jumps: of the cells whose deletion the scores' gradient favors the first 70 %
    or 35 % go to 0, and the jump of the lowest objective is taken if it is
    below that of the steps.

    Args:
        initial: the first step; None moves the fastest cell that can move by 1.
        shrink: in (0, 1).
        grow: at least 1.
        beta: share of the first-order decrease that is asked for.
        most_trials: trials of one search, after which the mask stays where it is.
        patience: searches in a row without an accepted step after which an example has converged;
            more than one, as the next iteration draws other noise.
        jumps: shares of the cells whose deletion lowers the scores, which go to 0 at once; empty
            for none. On a table of 143 rows I-GOS leaves 105 maps empty without jumps, 8 with these
            two, and 7 with the five shares 1, .7, .5, .35 and .25, for an eighth more evaluations.

    >>> here = MaskState(torch.ones(1, 1, 1), torch.ones(1, 1, 1), torch.tensor([1.0]))
    >>> search = Backtracking(initial=0.8, shrink=0.5)
    >>> bowl = lambda masks, among: (4 * masks - 3.2).square().sum((1, 2))  # lowest at 0.8
    >>> move = search(here, bowl, search.start(here.masks), torch.tensor([9]))
    >>> move.masks, move.trials
    (tensor([[[0.6000]]]), tensor([2]))
    """

    initial: float | None = None
    shrink: float = 0.3
    grow: float = 2.0
    # Armijo's share, as in the published code and in Nocedal and Wright (section 3.1): near 0, so
    # that a step is refused for raising the objective, hardly for lowering it too little.
    beta: float = 1e-4
    most_trials: int = 6
    patience: int = 3
    jumps: tuple[float, ...] = (0.7, 0.35)

    def __post_init__(self) -> None:
        if not (0 < self.shrink < 1 <= self.grow):
            raise ValueError(
                f"`shrink` is in (0, 1) and `grow` at least 1, but got {self.shrink} and "
                f"{self.grow}."
            )
        if not all(0 < share <= 1 for share in self.jumps):
            raise ValueError(
                f"`jumps` are shares of the cells, in (0, 1], but got {self.jumps}: leave it empty "
                "for none."
            )

    def start(self, masks: Tensor) -> Tensors:
        first = 0.0 if self.initial is None else self.initial
        zeros = masks.new_zeros(masks.shape[0])
        return zeros + first, zeros, zeros + 1

    def __call__(
        self,
        here: MaskState,
        objective: Objective,
        state: Shaped[Tensors, "M ..."],
        most_trials: PerRow,
    ) -> StepResult:
        length, failures, unsettled = state
        length = torch.where(length > 0, length, _across(here))
        search = _Search(here, objective, most_trials)
        limit = most_trials.clamp(max=self.most_trials)
        jumps = self._jumps(here)

        def asked() -> list[int]:
            # One question tells how many go on and, if nobody does, what follows.
            stuck = ~search.taken & (failures + 1 >= self.patience)
            wanted = search.among_jumps(unsettled, jumps)
            return search.asked(again.sum(), stuck.sum(), *(w.sum() for w in wanted))

        # A gradient that presses all cells against their ends moves none: no trial is spent on it.
        again = (_projected(here, length) != here.masks).any(2).any(1) & (limit > 0)
        n_again, n_stuck, *n_jumps = asked()
        while n_again:
            trial = _projected(here, length)
            new = search.evaluated(trial, again, n_again)
            # Along the way that the clamp leaves, not length * |gradient|^2: cells pressed against
            # an end do not move, and would ask for a fall that no step can give.
            fall = (here.gradient * (here.masks - trial)).sum((1, 2))
            good = again & (new <= search.value - self.beta * fall)
            search.take(good, trial, new)
            again = again & ~good
            length = torch.where(again, length * self.shrink, length)
            again = again & (search.trials < limit)
            n_again, n_stuck, *n_jumps = asked()
        stepped = search.taken.clone()
        jumped = self._jump(here, search, unsettled, jumps, n_jumps)
        # Where a jump leads, the length of the last step means nothing. An accepted step grows, as
        # trials only shrink it and one short step would make all later ones short; a search
        # without one goes on, under the next noise, from where its trials ended.
        length = torch.where(jumped, 0.0, torch.where(stepped, length * self.grow, length))
        failures = torch.where(search.taken, 0, failures + 1)
        return StepResult(
            search.masks,
            (length, failures, jumped.to(failures)),
            search.trials,
            search.value,
            failures >= self.patience,
            length,
            None if any(n_jumps) else n_stuck,
        )

    def _jumps(self, here: MaskState) -> list[Tensor]:
        """Which cells each jump sends to 0, in the masks' shape; no jump without scores."""
        if here.data is None:
            return []
        # Shares of what each example favors, so that cells it lacks do not count, and in a stable
        # order, so that ties do not fall as the batch has it.
        favored = ((here.data > 0) & (here.masks > 0)).flatten(1)
        order = here.data.flatten(1).where(favored, -torch.inf)
        rank = order.argsort(dim=1, descending=True, stable=True).argsort(1)
        sizes = [(share * favored.sum(1, keepdim=True)).ceil() for share in self.jumps]
        return [(favored & (rank < size)).view_as(here.masks) for size in sizes]

    def _jump(
        self,
        here: MaskState,
        search: _Search,
        unsettled: Tensor,
        jumps: list[Tensor],
        counts: list[int],
    ) -> Tensor:
        """Tries to delete many cells at once; which examples have jumped, (M,)."""
        jumped = torch.zeros_like(search.taken)
        wanted = search.among_jumps(unsettled, jumps)
        for cells, among, count in zip(jumps, wanted, counts, strict=True):
            if not count:
                break
            trial = here.masks.masked_fill(cells, 0.0)
            new = search.evaluated(trial, among, count)
            # By more than rounding: an example that gains nothing has to come to an end.
            good = among & (new < search.value - self.beta * search.value.abs())
            search.take(good, trial, new)
            jumped = jumped | good
        return jumped


class _Search:
    """The masks of the lowest objective that one search has found, (M, masks, cells).

    All that is kept has a row for each example: choosing some of them would ask the device.
    """

    def __init__(self, here: MaskState, objective: Objective, most_trials: Tensor) -> None:
        self.masks, self.value = here.masks, _value(here, objective)
        self.objective, self.most_trials = objective, most_trials
        self.asked = _asker(objective)
        self.trials = torch.zeros_like(most_trials)
        self.taken = torch.zeros_like(self.value, dtype=torch.bool)

    def evaluated(self, masks: Masks, chosen: PerRow, count: int) -> PerRow:
        """The objective at the masks of the chosen examples, ``count`` of (M,); nan elsewhere."""
        among = numbers(chosen, count)
        new = self.objective(masks[among], among).to(self.value)
        self.trials = self.trials + chosen
        return torch.full_like(self.value, torch.nan).index_copy(0, among, new)

    def take(self, good: PerRow, masks: Masks, value: PerRow) -> None:
        self.masks = torch.where(good.view(-1, 1, 1), masks, self.masks)
        self.value, self.taken = torch.where(good, value, self.value), self.taken | good

    def among_jumps(self, unsettled: Tensor, jumps: list[Tensor]) -> list[Tensor]:
        """Who tries each of the jumps, (M,), if all trials so far were steps."""
        wanted = (unsettled > 0) | ~self.taken
        return [
            wanted & cells.flatten(1).any(1) & (self.trials + done < self.most_trials)
            for done, cells in enumerate(jumps)
        ]


@dataclass(frozen=True)
class PublishedBacktracking:
    """The line search of the published I-GOS and iGOS++ code, letter by letter.

    It starts at ``initial`` at every iteration, evaluates the base again, refuses a step while the
    objective exceeds ``base - beta * step * ||gradient||^2`` and the step tried is at least
    ``floor``, multiplying it by ``shrink`` each time; the last step is taken, accepted or not.

    >>> here = MaskState(torch.ones(1, 1, 1), torch.ones(1, 1, 1))
    >>> bowl = lambda masks, among: (4 * masks - 3.2).square().sum((1, 2))  # lowest at 0.8
    >>> PublishedBacktracking(initial=1.0)(here, bowl, (), torch.tensor([9])).length
    tensor([0.2000])
    """

    initial: float = 1000.0
    shrink: float = 0.2
    beta: float = 1e-4
    floor: float = 1e-5

    def start(self, masks: Tensor) -> Tensors:
        return ()

    def __call__(
        self,
        here: MaskState,
        objective: Objective,
        state: Shaped[Tensors, "M ..."],
        most_trials: PerRow,
    ) -> StepResult:
        # The base and one trial, or nothing.
        again, ask = most_trials >= 2, _asker(objective)
        (count,) = ask(again.sum())
        if not count:
            return _stay(here, torch.zeros_like(most_trials))
        among = numbers(again, count)
        first = objective(here.masks[among], among)
        nothing = first.new_full(most_trials.shape, torch.nan)
        value = base = nothing.index_copy(0, among, first)
        trials = again.to(most_trials)
        length = torch.where(again, torch.full_like(here.masks[:, 0, 0], self.initial), 0.0)
        # Of all cells, those that the clamp holds too: there it asks for a fall that no step gives.
        slope = here.gradient.square().sum((1, 2))
        while count:
            among = numbers(again, count)
            new = objective(_projected(here, length)[among], among)
            value, trials = value.index_copy(0, among, new), trials + again
            too_high = value > base - length * self.beta * slope
            refused = again & too_high & (length >= self.floor)
            length = torch.where(refused, length * self.shrink, length)
            again = refused & (trials < most_trials)
            (count,) = ask(again.sum())
        stuck = torch.zeros_like(again)
        return StepResult(_projected(here, length), (), trials, value, stuck, length, n_stuck=0)


def _asker(objective: Objective) -> Callable[..., list[int]]:
    """How the device is asked: through a descent's objective, whose own question rides along."""
    ask: Callable[..., list[int]] = getattr(objective, "asked", asked)
    return ask


def _stay(here: MaskState, trials: Tensor) -> StepResult:
    stuck = torch.zeros_like(trials, dtype=torch.bool)
    length = torch.zeros_like(here.masks[:, 0, 0])
    return StepResult(here.masks, (), trials, here.value, stuck, length, n_stuck=0)


def _across(here: MaskState) -> PerRow:
    """The step that moves the fastest cell of each example from one end to the other.

    Cells that the gradient presses against an end do not count: at ones L1 presses most of them,
    and a step of their size would hardly move the others.
    """
    ends = torch.where(here.gradient > 0, here.masks > 0, here.masks < 1)
    steepest = (here.gradient.abs() * ends).amax((1, 2))
    return torch.where(steepest > 0, 1 / steepest, 0.0)


def _projected(here: MaskState, length: PerRow) -> Masks:
    # The nearest point of a box, cell by cell: one at its end does not shorten the others' way.
    return (here.masks - length.view(-1, 1, 1) * here.gradient).clamp(0, 1)


def _value(here: MaskState, objective: Objective) -> PerRow:
    """The objective that came with the gradient; a search without one asks, and is told why not."""
    if here.value is not None:
        return here.value.clone()
    return objective(here.masks, torch.arange(len(here.masks), device=here.masks.device))
