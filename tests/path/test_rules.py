import pytest
import torch

from captum_ext.attr import PathAttribution, walk
from captum_ext.path import (
    Knot,
    StraightLine,
    aligned_contribution,
    base,
    important_direction,
    integrate,
    trapezoid,
    two_sided_direction,
)
from tests.attr.test_path_methods import Watched


def path(values, gradients):
    return [
        Knot((torch.zeros(1, 2),), torch.tensor([v]), (torch.tensor([g]),))
        for v, g in zip(values, gradients, strict=True)
    ]


def idgi(values, gradients):
    return integrate(path(values, gradients), important_direction)[0][0][0].tolist()


def test_a_step_without_gradient_hands_its_rise_to_the_next():
    flat_first = idgi([0.0, 1.0, 3.0], [[0.0, 0.0], [1.0, 0.0], [9.0, 9.0]])
    assert flat_first == [3.0, 0.0]


def test_two_such_steps_in_a_row_hand_on_both_rises():
    values, flat = [0.0, 1.0, 3.0, 4.0], [0.0, 0.0]
    assert idgi(values, [flat, flat, [0.0, 2.0], flat]) == [0.0, 4.0]


def test_at_the_end_the_rise_goes_to_the_previous_step():
    values, flat = [0.0, 1.0, 3.0, 4.0], [0.0, 0.0]
    assert idgi(values, [[0.0, 2.0], flat, flat, flat]) == [0.0, 4.0]


def test_without_any_gradient_there_is_no_credit():
    assert idgi([0.0, 1.0, 3.0], [[0.0, 0.0]] * 3) == [0.0, 0.0]


def test_each_gradient_is_searched_for_its_largest_entry_once(monkeypatch):
    searched, real = [], base.largest
    monkeypatch.setattr(base, "largest", lambda tensors: searched.append(tensors) or real(tensors))
    assert idgi([0.0, 1.0, 3.0, 4.0], [[0.0, 2.0], [0.0, 0.0], [1.0, 0.0], [5.0, 5.0]])
    assert [g[0].tolist() for g in searched] == [[[0.0, 2.0]], [[0.0, 0.0]], [[1.0, 0.0]]]


def test_the_last_gradient_plays_no_part():
    assert idgi([0.0, 2.0], [[1.0, 1.0], [5.0, float("nan")]]) == [1.0, 1.0]


@pytest.mark.parametrize("size", [1e-30, 1e-38, 1e30])
def test_squares_of_tiny_and_huge_gradients_keep_their_shares(size):
    credit = torch.tensor(idgi([0.0, 1.0], [[3 * size, size], [0.0, 0.0]]))
    torch.testing.assert_close(credit, torch.tensor([0.9, 0.1]))


def test_one_examples_flat_step_leaves_the_others_alone():
    knots = [
        Knot((torch.zeros(2, 1),), torch.tensor([0.0, 0.0]), (torch.tensor([[0.0], [1.0]]),)),
        Knot((torch.zeros(2, 1),), torch.tensor([1.0, 5.0]), (torch.tensor([[2.0], [0.0]]),)),
        Knot((torch.zeros(2, 1),), torch.tensor([4.0, 7.0]), (torch.zeros(2, 1),)),
    ]
    assert integrate(knots, important_direction)[0][0].flatten().tolist() == [4.0, 7.0]


def test_squares_are_normalized_over_all_tensors_of_a_tuple():
    gradient = (torch.tensor([[3.0]]), torch.tensor([[4.0]]))
    here = Knot(gradient, torch.tensor([0.0]), gradient)
    a, b = important_direction(here, Knot(gradient, torch.tensor([25.0])))
    assert (a.item(), b.item()) == (pytest.approx(9), pytest.approx(16))


def two_sided(values, gradients):
    return integrate(path(values, gradients), two_sided_direction)[0][0][0].tolist()


def test_two_sided_shares_are_the_mean_of_both_ends():
    credit = two_sided([0.0, 4.0, 6.0], [[1.0, 1.0], [0.0, 5.0], [3.0, 0.0]])
    assert credit == [4 * 0.25 + 2 * 0.5, 4 * 0.75 + 2 * 0.5]


def test_where_one_end_is_flat_the_others_shares_count_alone():
    flat = [0.0, 0.0]
    assert two_sided([0.0, 4.0, 6.0], [flat, [0.0, 5.0], flat]) == [0.0, 6.0]


def test_a_step_flat_at_both_ends_hands_its_rise_on():
    flat = [0.0, 0.0]
    assert two_sided([0.0, 4.0, 6.0], [flat, flat, [7.0, 0.0]]) == [6.0, 0.0]


def test_at_the_end_that_rise_goes_to_the_last_step_that_has_a_gradient():
    values, flat = [0.0, 1.0, 3.0, 7.0], [0.0, 0.0]
    assert two_sided(values, [flat, [0.0, 2.0], flat, flat]) == [0.0, 7.0]
    assert two_sided(values, [flat, flat, flat, flat]) == [0.0, 0.0]


def curved(x):
    return torch.sigmoid(6 * (x[:, 0] * x[:, 1] - 0.5 * x[:, 2] ** 3))


def test_two_sided_shares_come_to_the_left_ones_map_and_sooner():
    x = torch.tensor([[1.0, 1.3, 0.7]], dtype=torch.float64)

    def credit(rule, n_steps):
        return PathAttribution(curved, StraightLine(), rule).attribute(x, n_steps=n_steps)

    limit = credit(important_direction, 4_000)
    errors = [(credit(two_sided_direction, n) - limit).abs().max() for n in (20, 1_000)]
    assert errors[1] < 2e-4
    assert errors[0] < (credit(important_direction, 20) - limit).abs().max() / 4


def test_two_sided_shares_take_one_gradient_more_and_share_it(model, images):
    watched = Watched(model)
    method = PathAttribution(watched, StraightLine(), two_sided_direction)
    method.attribute(images, target=0, n_steps=4)
    assert (watched.gradients, watched.forwards) == (3 * 5, 3 * 1)
    watched = Watched(model)
    rules = (trapezoid, two_sided_direction)
    walk([PathAttribution(watched, StraightLine(), r) for r in rules], images, target=0, n_steps=4)
    assert (watched.gradients, watched.forwards) == (3 * 5, 3 * 1)


def test_a_rule_may_say_which_pairs_it_walks():
    class EverySecond:
        def pairs(self, knots):
            points = list(knots)
            return [(points[0], points[2])]

        def __call__(self, here, there):
            return (here.gradient[0] * (there.value - here.value).view(-1, 1),)

    knots = path([1.0, 9.0, 4.0], [[1.0, 2.0], [5.0, 5.0], [7.0, 7.0]])
    assert integrate(knots, EverySecond())[0][0].tolist() == [[3.0, 6.0]]


def moving(values, gradients, points):
    return [
        Knot((torch.tensor([p]),), torch.tensor([v]), (torch.tensor([g]),))
        for v, g, p in zip(values, gradients, points, strict=True)
    ]


def aligned(values, gradients, points):
    return integrate(moving(values, gradients, points), aligned_contribution)[0][0][0].tolist()


def test_what_pushes_with_a_rise_or_a_fall_shares_it_and_nothing_else():
    points = [[0.0, 0.0, 0.0], [1.0, 2.0, 1.0], [2.0, 3.0, 2.0]]
    up, down = [3.0, 0.5, -9.0], [5.0, -2.0, -6.0]
    assert aligned([0.0, 4.0, 0.0], [up, down, up], points) == [3.0, 0.0, -3.0]


def test_a_feature_that_does_not_move_gets_nothing():
    assert aligned([0.0, 1.0], [[9.0, 1.0], [0.0, 0.0]], [[1.0, 0.0], [1.0, 5.0]]) == [0.0, 1.0]


def test_a_step_that_all_push_against_hands_its_rise_on():
    points = [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]
    assert aligned([0.0, 1.0, 4.0], [[-1.0, -2.0], [1.0, 3.0], [0.0, 0.0]], points) == [1.0, 3.0]


def test_at_the_end_that_rise_is_shared_by_size():
    points = [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]
    assert aligned([0.0, 1.0, 4.0], [[1.0, 3.0], [-1.0, -2.0], [0.0, 0.0]], points) == [1.25, 2.75]


def test_at_the_end_a_rise_goes_back_from_steps_that_nothing_contributes_to():
    points = [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [2.0, 2.0]]
    gradients = [[1.0, 3.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    assert aligned([0.0, 1.0, 2.0, 4.0], gradients, points) == [1.0, 3.0]


def test_a_path_that_all_push_against_is_shared_by_size():
    assert aligned([0.0, 4.0], [[-1.0, -3.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]) == [1.0, 3.0]


@pytest.mark.parametrize("rule", [important_direction, two_sided_direction, aligned_contribution])
def test_shared_rises_sum_to_the_whole_rise_in_any_walk(rule):
    torch.manual_seed(0)
    for steps in range(1, 30):
        points = torch.randn(steps + 1, 4, 3).cumsum(0)
        values = torch.randn(steps + 1, 4, dtype=torch.float64)
        gradients = torch.randn(steps + 1, 4, 3) * (torch.rand(steps + 1, 4, 1) > 0.3)
        gradients[0] += 0.1
        knots = [Knot((p,), v, (g,)) for p, v, g in zip(points, values, gradients, strict=True)]
        (credit,), first, last = integrate(knots, rule)
        torch.testing.assert_close(credit.sum(1), last.value - first.value, atol=1e-6, rtol=0)


def test_aligned_contributions_do_not_depend_on_units_and_those_of_idgi_do():
    units = torch.tensor([1.0, 100.0, 0.01])
    x = torch.tensor([[1.0, 2.0, 3.0]])
    weights = torch.tensor([1.0, 2.0, -0.5])

    def model(x):
        return ((x * weights).sum(1)).sigmoid()

    def same(rule):
        one = PathAttribution(model, StraightLine(), rule).attribute(x)
        other = PathAttribution(lambda x: model(x / units), StraightLine(), rule)
        return torch.allclose(one, other.attribute(x * units), atol=1e-6)

    assert same(aligned_contribution)
    assert not same(important_direction)
