import pytest
import torch

from captum_ext.path import Knot, important_direction, integrate


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


def test_a_rule_may_say_which_pairs_it_walks():
    class EverySecond:
        def pairs(self, knots):
            points = list(knots)
            return [(points[0], points[2])]

        def __call__(self, here, there):
            return (here.gradient[0] * (there.value - here.value).view(-1, 1),)

    knots = path([1.0, 9.0, 4.0], [[1.0, 2.0], [5.0, 5.0], [7.0, 7.0]])
    assert integrate(knots, EverySecond())[0][0].tolist() == [[3.0, 6.0]]
