"""Sensitivity-n: linear models, the definition in plain loops, and what is not defined."""

import numpy as np
import pytest
import torch
from torch import nn

from captum_ext.curve import rank
from captum_ext.metrics import SensitivityN, sensitivity_n


@pytest.fixture
def table():
    return torch.randn(3, 12, generator=torch.Generator().manual_seed(0))


def crossed(x):
    """Not linear: pairs of features act together."""
    return (x[:, ::2] * x[:, 1::2]).sum(1, keepdim=True) + x.sum(1, keepdim=True)


def test_credit_of_a_linear_model_is_sensitive_for_all_sizes(table):
    weights = torch.randn(12, 2, generator=torch.Generator().manual_seed(1))
    found = sensitivity_n(lambda x: x @ weights, table, table * weights[:, 1], target=1)
    for values in found.values():
        torch.testing.assert_close(values, torch.ones(3, dtype=torch.float64))
    against = sensitivity_n(lambda x: x @ weights, table, -table * weights[:, 1], target=1)
    assert all((values < -0.999).all() for values in against.values())


def test_the_correlation_is_that_of_the_definition(table):
    credit = torch.randn(3, 12, generator=torch.Generator().manual_seed(2))
    metric = SensitivityN(crossed, shares=[0.25, 0.75], n_subsets=15, base=0.5, seed=4)
    metric.update(table, credit, target=0)
    draw = metric_seeds(metric)
    for share, n in (("0.25", 3), ("0.75", 9)):
        for k in range(3):
            sums, falls = [], []
            for seed in draw:
                places = rank((torch.zeros(1, 12),), seed=seed).positions[0][0]
                removed = [i for i in range(12) if int(places[i]) < n]
                without = table[k].clone()
                without[removed] = 0.5
                sums.append(float(credit[k, removed].sum()))
                falls.append(float(crossed(table[k : k + 1]) - crossed(without[None])))
            expected = np.corrcoef(sums, falls)[0, 1]
            assert float(metric.per_example[share][k]) == pytest.approx(expected, abs=1e-4)


def metric_seeds(metric):
    from captum_ext._random import stream

    draw = stream(metric.seed, 0)
    return [int(torch.randint(2**62, (1,), generator=draw)) for _ in range(metric.n_subsets)]


def test_groups_are_removed_as_one_and_hold_their_credit_once(table):
    groups = torch.tensor([[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7]])
    weights = torch.arange(1.0, 13)
    credit = table * weights
    whole = torch.zeros_like(credit)
    for group in groups.unique():
        members = groups[0] == group
        whole[:, members] = credit[:, members].sum(1, keepdim=True)
    found = sensitivity_n(
        lambda x: (x * weights).sum(1), table, whole, feature_mask=groups, shares=[0.3, 0.6]
    )
    for values in found.values():
        torch.testing.assert_close(values, torch.ones(3, dtype=torch.float64))


def test_several_tensors_and_channels_count_together():
    images = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    table = torch.rand(2, 4, generator=torch.Generator().manual_seed(1))
    given = (images, table)
    found = sensitivity_n(
        lambda x, t: x.sum((1, 2, 3)) + 3 * t.sum(1), given, (images, 3 * table), shares=[0.5]
    )
    torch.testing.assert_close(found["0.5"], torch.ones(2, dtype=torch.float64))


def test_values_do_not_depend_on_batch_or_chunk(table):
    credit = torch.randn(3, 12, generator=torch.Generator().manual_seed(2))
    metric = SensitivityN(crossed, n_subsets=8, shares=[0.1, 0.5], internal_batch_size=1)
    for k in range(3):
        metric.update(table[k : k + 1], credit[k : k + 1], target=0)
    at_once = sensitivity_n(crossed, table, credit, 0, n_subsets=8, shares=[0.1, 0.5])
    for share, values in metric.per_example.items():
        torch.testing.assert_close(values, at_once[share])


def test_what_has_no_correlation_says_why(table):
    credit = torch.randn(3, 12)
    credit[0] = 2.0  # every subset of a size holds the same
    credit[1, 0] = torch.nan
    metric = SensitivityN(lambda x: x.sum(1, keepdim=True), shares=[0.5], n_subsets=9)
    metric.update(table, credit, target=0)
    assert metric.undefined["0.5"] == (
        "all subsets hold the same credit", "attributions not finite", "",
    )  # fmt: skip
    flat = SensitivityN(lambda x: x[:, :1] * 0 + 7, shares=[0.5], n_subsets=9)
    flat.update(table, torch.randn(3, 12), target=0)
    assert set(flat.undefined["0.5"]) == {"answer is the same without any subset"}
    lost = SensitivityN(lambda x: 1 / x[:, :1], shares=[0.5], n_subsets=9)
    lost.update(table, torch.randn(3, 12), target=0)
    assert set(lost.undefined["0.5"]) == {"model's answer not finite"}


def test_every_size_of_a_small_table_keeps_and_removes_something():
    found = sensitivity_n(crossed, torch.randn(1, 2), torch.randn(1, 2), 0, shares=[0.01, 0.99])
    assert all(values.abs() <= 1 for values in found.values())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shares": []}, "`shares` rise between 0 and 1"),
        ({"shares": [0.5, 1.0]}, "all features are `return_convergence_delta`"),
        ({"shares": [0.5, 0.2]}, "rise between 0 and 1"),
        ({"n_subsets": 2}, "at least 3, but got 2"),
    ],
)
def test_settings_that_can_not_be_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        SensitivityN(nn.Identity(), **settings)
