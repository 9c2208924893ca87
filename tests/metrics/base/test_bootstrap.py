"""Intervals: how often they hold the truth, and what they do not depend on."""

import numpy as np
import pytest
import torch
from scipy import stats

from captum_ext.metrics.base.bootstrap import MIN_EXAMPLES, Statistic, interval, mean_of, too_few

CASES = {
    "normal": (lambda draw: draw.normal(size=10), 0.0),
    "deletion-like": (lambda draw: draw.beta(1, 6, size=10), 1 / 7),
    "insertion-like": (lambda draw: draw.beta(4, 1.5, size=10), 4 / 5.5),
}


def ends(values, **how):
    return tuple(float(end) for end in interval(mean_of(torch.as_tensor(values).double()), **how))


@pytest.mark.parametrize("name", CASES)
def test_of_ten_examples_intervals_hold_the_truth_as_often_as_they_say(name):
    sample, truth = CASES[name]
    generator = np.random.default_rng(5)
    found = [ends(sample(generator), n_samples=1000) for _ in range(300)]
    # Percentiles at the level itself: 0.885 to 0.905.
    assert 0.92 <= np.mean([low <= truth <= high for low, high in found]) <= 0.98


def test_of_normal_values_the_interval_is_students():
    values = stats.norm.ppf((np.arange(30) + 0.5) / 30)
    expected = stats.t.interval(0.95, 29, values.mean(), stats.sem(values))
    assert ends(values, n_samples=20000) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("n", [6, 13, 1001])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.9999])
def test_another_scale_and_order_give_the_same_interval(n, level):
    generator = torch.Generator().manual_seed(n)
    values = torch.rand(n, generator=generator, dtype=torch.float64) ** 3
    low, high = ends(values, level=level)
    assert values.min() <= low < high <= values.max()
    shuffled = values[torch.randperm(n, generator=generator)]
    # Whether a resample's mean is the examples' is a matter of rounding where it is a permutation.
    scaled = ends(7 * shuffled - 2, level=level)
    assert scaled == pytest.approx((7 * low - 2, 7 * high - 2), abs=0.03 * 7 * (high - low))
    assert ends(shuffled, level=level) == (low, high)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, -3.3e6])
@pytest.mark.parametrize("n", [6, 7, 2000])
def test_equal_values_have_an_interval_of_one_point(n, value):
    assert ends([value] * n) == pytest.approx((value, value), rel=1e-6, abs=0)


def test_one_that_differs_is_enough_for_an_interval():
    low, high = ends([0.0] * 9 + [1.0])
    assert 0 == low < 0.1 < high < 1


def test_too_few_have_none_and_undefined_ones_do_not_count():
    values = [0.1, 0.5, 0.2, 0.9, 0.4]
    assert len(values) == MIN_EXAMPLES - 1
    assert np.isnan(ends([*values, np.nan])).all()
    assert ends([*values, 0.3, np.nan]) == ends([*values, 0.3])
    assert not np.isnan(ends([*values, 0.3])).any()
    assert (too_few(5) != "", too_few(6)) == (True, "")


def test_the_global_state_has_no_part_and_is_left():
    values = torch.rand(9, dtype=torch.float64)
    before, numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    found = ends(values)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy).all()  # noqa: NPY002
    torch.manual_seed(1)
    assert ends(values) == found
    assert ends(values, seed=1) != found


def test_of_a_median_the_interval_is_percentiles():
    values = torch.arange(9.0)
    of = lambda drawn: values[drawn].median(1).values  # noqa: E731
    low, high = interval(Statistic(9, of, is_mean=False))
    assert (low.dtype, float(low), float(high)) == (torch.float32, 1.0, 7.0)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"level": 95}, "`level`.*got 95"),
        ({"level": 0}, "`level`.*got 0"),
        ({"n_samples": 0}, "`n_samples`.*got 0"),
    ],
)
def test_bad_settings_are_named(how, words):
    with pytest.raises(ValueError, match=words):
        ends([1.0, 2.0], **how)
