"""Descents: what a step promises, and what each example costs."""

from itertools import pairwise

import pytest
import torch

from captum_ext.attr import IGOS, IGOSPlusPlus
from captum_ext.mask import (
    L1,
    TV,
    Backtracking,
    DeletionTerm,
    Gradient,
    IntegratedGradient,
    MaskGrid,
    Noise,
    adam,
    fixed,
    nesterov,
)
from captum_ext.mask.advanced import MaskProblem, MaskState, PublishedBacktracking, descend
from captum_ext.score import Score
from tests.attr.planted import detector, scenes
from tests.conftest import WEAK_EVIDENCE

pytestmark = WEAK_EVIDENCE

STEPS = {
    "search": Backtracking(),
    "published": PublishedBacktracking(),
    "adam": adam(0.3),
    "nesterov": nesterov(100.0),
    "fixed": fixed(100.0),
}


def problem(noise: float = 0.2, n: int = 3) -> MaskProblem:
    images = scenes()[:n]
    score = Score(detector(4.0), (images,), target=1)
    reference = (torch.full_like(images, 0.4),)
    regularizers = (L1(1.0), TV(5.0))
    return MaskProblem(
        score, (images,), reference, MaskGrid(7), (DeletionTerm(),), regularizers, Noise(noise)
    )


class Watched:
    """A step that keeps what went in and out."""

    def __init__(self, step) -> None:
        self.step, self.seen, self.start = step, [], step.start

    def __call__(self, here, evaluate, state, most_trials):
        move = self.step(here, evaluate, state, most_trials)
        before = evaluate(here.masks, torch.arange(len(here.masks)))
        after = evaluate(move.masks, torch.arange(len(here.masks)))
        self.seen.append((here, move, before, after))
        return move


def test_an_accepted_step_never_raises_the_objective_under_the_same_noise():
    step = Watched(Backtracking())
    descend(problem(), IntegratedGradient(), step, n_iter=12, n_steps=3)
    for here, move, before, after in step.seen:
        torch.testing.assert_close(before, here.value)
        torch.testing.assert_close(after, move.value)
        assert (after <= before).all()
    assert sum(float((b - a).sum()) for _, _, b, a in step.seen) > 0.05


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_masks_stay_between_0_and_1(step):
    step = Watched(step)
    descend(problem(), IntegratedGradient(), step, n_iter=6, n_steps=3)
    assert len(step.seen) == 6
    for _, move, _, _ in step.seen:
        assert move.masks.min() >= 0
        assert move.masks.max() <= 1


def test_search_starts_where_the_last_one_ended():
    here = MaskState(torch.ones(1, 1, 2), torch.tensor([[[1.0, 0.0]]]), torch.tensor([1.0]))
    tried = []

    def evaluate(masks, among):
        tried.append(1 - float(masks[0, 0, 0]))
        return torch.tensor([0.0 if tried[-1] < 0.2 else 2.0])

    step = Backtracking(shrink=0.5, grow=1.5)
    move = step(here, evaluate, step.start(here.masks), torch.tensor([99]))
    assert tried == [1.0, 0.5, 0.25, 0.125]
    tried.clear()
    step(here, evaluate, move.state, torch.tensor([99]))
    assert tried == [0.1875]


def test_a_search_that_fails_moves_nothing_and_gives_up_after_its_patience():
    here = MaskState(torch.ones(1, 1, 2), torch.tensor([[[1.0, 0.0]]]), torch.tensor([1.0]))
    step = Backtracking(most_trials=4, patience=2)
    state = step.start(here.masks)
    for stuck in (False, True):
        move = step(here, lambda masks, among: torch.tensor([2.0]), state, torch.tensor([99]))
        state = move.state
        assert torch.equal(move.masks, here.masks)
        assert move.trials.item() == 4
        assert move.stuck.item() is stuck


def test_each_example_stops_on_its_own_and_costs_no_more():
    rows = []
    net = detector(4.0)

    def model(x, constant):
        rows.append(int((~constant).sum()))
        return torch.where(constant[:, None], torch.full((len(x), 2), 0.5), net(x))

    constant = torch.tensor([True, False, True])
    run = IGOS(model, 7).optimize(scenes(), 0.4, 1, constant, n_iter=9, n_steps=4)
    spent = run.descent.forwards[-1]
    patience = Backtracking().patience
    # A gradient of zero leaves nothing to step or jump to.
    assert spent[0] == spent[2] == 12 * patience
    assert spent[1] > 12 * 9
    assert torch.isnan(run.descent.objective[patience:, 0]).all()
    assert torch.isfinite(run.descent.objective[:, 1]).all()


@pytest.mark.parametrize("budget", [12, 14, 40, 100])
@pytest.mark.parametrize("make", [IGOS, IGOS.published], ids=["ours", "published"])
def test_a_budget_is_kept_to_and_counts_what_is_called(make, budget):
    forwards = []
    net = detector(4.0)

    def model(x):
        forwards.append(len(x) * (3 if torch.is_grad_enabled() else 1))
        return net(x)

    run = make(model, 7).optimize(scenes()[:1], 0.4, 1, n_steps=4, max_forwards=budget)
    assert run.descent.forwards[-1].item() == sum(forwards)
    assert budget - 12 < sum(forwards) <= budget


def test_more_budget_never_gives_a_worse_mask():
    values = []
    for budget in (12, 30, 60, 120, 240):
        objective = problem(noise=0.0)
        found = descend(
            objective, IntegratedGradient(), adam(0.3), 100, n_steps=4, max_forwards=budget
        )
        sample = objective.sample(IntegratedGradient().fractions(4))
        values.append(objective.value(found.masks, torch.arange(3), sample))
    for worse, better in pairwise(values):
        assert (better <= worse + 1e-12).all()
    assert (values[-1] < values[0]).all()


@pytest.mark.parametrize("step", ["search", "adam", "nesterov", "fixed"])
def test_a_budget_that_is_no_limit_changes_nothing(step):
    limits = [
        descend(problem(), IntegratedGradient(), STEPS[step], 8, 3, max_forwards=most).masks
        for most in (None, 10**9)
    ]
    assert torch.equal(*limits)


def test_the_best_mask_is_given_where_a_step_overshoots():
    images = torch.ones(1, 1, 1, 1)
    score = Score(lambda x: (x[:, 0, 0, 0] - 0.5) ** 2, (images,))
    black = (torch.zeros_like(images),)
    objective = MaskProblem(score, (images,), black, MaskGrid(1), (DeletionTerm(),))
    # From 1 to 0.5, the lowest, and with momentum on to 0 and back.
    found = descend(objective, Gradient(), nesterov(0.5), n_iter=4)
    assert found.masks.item() == 0.5
    assert found.objective.nan_to_num(9).min() == 0


@pytest.mark.parametrize(
    "rule", [adam(0.3), nesterov(1.0), fixed(1.0)], ids=["adam", "nesterov", "fixed"]
)
def test_rules_go_on_after_a_flat_iteration(rule):
    calls = []

    def model(x):
        calls.append(len(x))
        # The third evaluation, and the first, are flat.
        return x.sum((1, 2, 3)) * (0.0 if len(calls) in (1, 3) else 1.0)

    images = torch.ones(1, 1, 2, 2)
    objective = MaskProblem(
        Score(model, (images,)),
        (images,),
        (torch.zeros_like(images),),
        MaskGrid(2),
        (DeletionTerm(),),
    )
    descend(objective, Gradient(), rule, n_iter=6)
    assert len(calls) == 6


def test_a_search_does_not_wait_for_cells_at_their_end():
    # The first cell is pressed against 1 by a gradient that would make any step of the other tiny.
    here = MaskState(torch.ones(1, 1, 2), torch.tensor([[[-1e3, 1.0]]]), torch.tensor([1.0]))
    step = Backtracking()
    move = step(here, lambda m, a: m[:, 0, 1], step.start(here.masks), torch.tensor([9]))
    assert move.masks.tolist() == [[[1.0, 0.0]]]
    assert move.trials.item() == 1


def test_a_jump_reaches_what_no_step_does():
    # Any one cell costs .1 and gains nothing; two or more bring the score to 0.
    def value(masks, among):
        gone = 1 - masks
        return torch.where(gone.sum((1, 2)) < 1.5, 1.0, 0.0) + 0.1 * gone.sum((1, 2))

    data = torch.tensor([[[0.03, 0.05, 0.04, -0.1]]])
    here = MaskState(torch.ones(1, 1, 4), data - 0.1, torch.tensor([1.0]), data=data)
    step = Backtracking()
    move = step(here, value, step.start(here.masks), torch.tensor([9]))
    assert move.masks.tolist() == [[[0.0, 0.0, 0.0, 1.0]]] or move.value.item() < 0.35
    stays = Backtracking(jumps=())
    assert stays(here, value, stays.start(here.masks), torch.tensor([9])).masks.min() == 1


def test_history_has_a_row_per_iteration_and_a_column_per_example():
    run = IGOSPlusPlus(detector(4.0), 7).optimize(scenes(), 0.4, 1, n_iter=5, n_steps=2).descent
    for column in (run.objective, run.forwards, run.length, run.trials):
        assert column.shape == (5, 3)
    assert (run.forwards.diff(dim=0) >= 3 * 4 * 2).all()
    assert run.masks.shape == (3, 2, 49)
    assert (run.objective[-1] < run.objective[0]).all()


def test_rules_are_their_formulas():
    gradients = [torch.tensor([[[0.01, -0.02, 0.5]]]), torch.tensor([[[0.03, 0.01, -0.4]]])]
    start = torch.full((1, 1, 3), 0.5)

    def run(step, masks=start):
        state, seen = step.start(masks), []
        for gradient in gradients:
            move = step(MaskState(masks, gradient), lambda m, a: m, state, torch.tensor([0]))
            masks, state = move.masks, move.state
            seen.append(masks)
        return seen

    first, second = gradients
    torch.testing.assert_close(run(fixed(0.1))[-1], start - 0.1 * (first + second))
    one = start - 0.1 * first
    two = one - 0.1 * second
    torch.testing.assert_close(run(nesterov(0.1))[-1], two + (two - one) / 4)
    torch.testing.assert_close(run(adam(0.1))[0], start - 0.1 * first.sign())
    m, v = 0.9 * 0.1 * first + 0.1 * second, 0.999 * 0.001 * first**2 + 0.001 * second**2
    moved = 0.1 * (m / (1 - 0.9**2)) / (v / (1 - 0.999**2)).sqrt()
    torch.testing.assert_close(run(adam(0.1))[1], start - 0.1 * first.sign() - moved)


def test_a_search_within_a_layer_method_says_why_it_cannot(monkeypatch):
    method = IGOS(detector(4.0), 7)
    method.gradient_func = lambda forward_fn, inputs, target_ind, additional_forward_args: tuple(
        torch.autograd.grad(forward_fn(*inputs)[:, 1].sum(), inputs)
    )
    with pytest.raises(ValueError, match="only gradients are known"):
        method.attribute(scenes(), 0.4, target=1, n_iter=2)
    method.step = adam(0.1)
    assert method.attribute(scenes(), 0.4, target=1, n_iter=2).max() > 0


def test_wrong_factors_of_a_search_are_named():
    with pytest.raises(ValueError, match=r"`shrink`.*got 1\.5"):
        Backtracking(shrink=1.5)
    with pytest.raises(ValueError, match=r"`jumps`.*got \(0\.5, 2\)"):
        Backtracking(jumps=(0.5, 2))
