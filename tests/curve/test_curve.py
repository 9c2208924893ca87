"""Curves: area, ratio, running maximum, interpolation."""

import numpy as np
import pytest
import torch

from captum_ext.curve import Curve


@pytest.fixture
def curve():
    x = torch.rand(5, 9, dtype=torch.float64).sort(1).values
    return Curve(x, torch.rand(5, 9, dtype=torch.float64))


def test_area_is_the_sum_of_trapezoids(curve):
    for x, y, area in zip(curve.x, curve.y, curve.area(), strict=True):
        loop = sum((y[i] + y[i + 1]) / 2 * (x[i + 1] - x[i]) for i in range(8))
        torch.testing.assert_close(area, loop)


@pytest.mark.parametrize("original", [-1, 0])
def test_relative_divides_by_the_original(curve, original):
    ratio = curve.relative(original).y
    torch.testing.assert_close(ratio, curve.y / curve.y[:, [original]])


def test_relative_is_nan_where_the_original_is_zero():
    y = Curve(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])).relative().y
    assert y.isnan().all()


def test_monotone_never_falls_and_never_lies_below(curve):
    y = curve.monotone().y
    assert (y.diff(dim=1) >= 0).all()
    assert (y >= curve.y).all()
    assert torch.equal(y[:, 0], curve.y[:, 0])


def test_resample_equals_numpy_inside_and_beyond_the_ends(curve):
    grid = torch.linspace(-0.1, 1.1, 37, dtype=torch.float64)
    made = curve.resample(grid)
    for x, y, row in zip(curve.x, curve.y, made.y, strict=True):
        np.testing.assert_allclose(row, np.interp(grid, x, y), atol=1e-12)


def test_resample_takes_the_later_value_at_a_jump():
    curve = Curve(torch.tensor([[0.0, 0.5, 0.5, 1.0]]), torch.tensor([[0.0, 1.0, 3.0, 4.0]]))
    assert curve.resample(torch.tensor([0.5, 1.0])).y.tolist() == [[3.0, 4.0]]


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\(batch, points\).*\(2, 3\) and \(2, 4\)"):
        Curve(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="at least 2 points"):
        Curve(torch.zeros(2, 1), torch.zeros(2, 1))


def test_reaches_is_the_first_crossing_of_any_dense_interpolation(curve):
    grid = torch.linspace(0, 1, 20001, dtype=torch.float64)
    for level in (0.2, 0.5, 0.9):
        for falling in (False, True):
            made = curve.reaches(level, falling)
            for x, y, found in zip(curve.x, curve.y, made, strict=True):
                dense = grid[(grid >= x[0]) & (grid <= x[-1])]
                values = torch.from_numpy(np.interp(dense, x, y))
                there = (values <= level if falling else values >= level).nonzero().flatten()
                if len(there):
                    torch.testing.assert_close(found, dense[there[0]], atol=1e-4, rtol=0)
                else:
                    assert found.isnan()


def test_a_curve_that_begins_at_the_level_reaches_it_there():
    level = Curve(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.7, 0.7]]))
    assert level.reaches(0.5).tolist() == [0.0]
    assert level.reaches(0.9, falling=True).tolist() == [0.0]
