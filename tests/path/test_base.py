import pytest
import torch

from captum_ext.path import FixedPath, StraightLine, integrate, riemann, trapezoid
from captum_ext.score import Score


def square(x):
    return (x**2).sum(1)


def knots(n_steps, chunk=None, path=None):
    inputs = (torch.tensor([[1.0, 2.0], [3.0, 0.0]]),)
    score = Score(square, inputs, chunk=chunk)
    return (path or StraightLine()).knots(score, (torch.zeros(2, 2),), inputs, n_steps)


def test_riemann_is_the_left_sum():
    credit, _, _ = integrate(knots(4), riemann)
    expected = sum(2 * (j / 4) / 4 for j in range(4)) * torch.tensor([[1.0, 4.0], [9.0, 0.0]])
    torch.testing.assert_close(credit[0], expected.double())


def test_trapezoid_is_exact_for_a_quadratic():
    credit, _, _ = integrate(knots(3), trapezoid)
    torch.testing.assert_close(credit[0], torch.tensor([[1.0, 4.0], [9.0, 0.0]]).double())


def test_integrate_gives_the_ends_of_the_path():
    _, first, last = integrate(knots(3), riemann)
    assert first.value.tolist() == [0, 0]
    assert last.value.tolist() == [5, 9]


@pytest.mark.parametrize("chunk", [1, 3, 4, 100])
def test_knots_do_not_depend_on_the_chunk(chunk):
    for ours, whole in zip(knots(5, chunk), knots(5, 2), strict=True):
        torch.testing.assert_close(ours.point, whole.point)
        torch.testing.assert_close(ours.value, whole.value)
        torch.testing.assert_close(ours.gradient, whole.gradient)


def test_a_straight_line_ends_exactly_at_both_ends():
    start, end = torch.randn(2, 50), torch.randn(2, 50)
    assert torch.equal(StraightLine().point(start, end, 0.0), start)
    assert torch.equal(StraightLine().point(start, end, 1.0), end)


def test_the_last_value_costs_a_forward_pass_only_when_read():
    calls = []

    def counted(x):
        calls.append(len(x))
        return square(x)

    inputs = (torch.ones(2, 2),)
    score = Score(counted, inputs)
    *_, last = StraightLine().knots(score, (torch.zeros(2, 2),), inputs, 3)
    assert sum(calls) == 6
    assert last.value.tolist() == [2, 2]
    assert sum(calls) == 8


def test_a_path_of_ones_own_is_one_method():
    class Corner(FixedPath):
        def point(self, start, end, t):
            return torch.where(torch.tensor([True, False]), end, start) if t > 0 else start

    points = [k.point[0][0].tolist() for k in knots(2, path=Corner())]
    assert points == [[0, 0], [1, 0], [1, 0]]
