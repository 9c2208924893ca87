"""Comparisons of methods: scipy, worked cases, bad input."""

from dataclasses import astuple
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, wilcoxon

from captum_ext.metrics import AIC, DataRandomization, Insertion, Localization, compare
from captum_ext.metrics.base.compare import (
    Comparison,
    differences,
    holm,
    limit_of,
    n_needed,
    out_of_reach,
    paired,
    signed_ranks,
    smallest_of,
)
from captum_ext.metrics.base.standing import standing


def filled(shift, n=12, seed=0):
    metric = Insertion(abs, n_steps=1)
    generator = torch.Generator().manual_seed(seed)
    y = 0.3 + shift + 0.1 * torch.rand(n, 1, generator=generator).expand(n, 2)
    metric._append(x=torch.tensor([[0.0, 1.0]]).expand(n, 2), y=y, codes=torch.zeros(n))
    return metric


def test_pairs_give_difference_interval_scipys_p_and_effect():
    a, b = filled(0.05), filled(0.0, seed=1)
    (pair,) = compare({"a": a, "b": b}).pairs
    differences = a.per_example - b.per_example
    assert pair.difference == pytest.approx(float(differences.mean()))
    assert pair.interval[0] < pair.difference < pair.interval[1]
    assert pair.p_value == pytest.approx(wilcoxon(differences).pvalue)
    torch.testing.assert_close(pair.per_example, differences)
    (other,) = compare({"b": b, "a": a}).pairs
    assert other.effect_size == pytest.approx(-pair.effect_size)
    assert 0 < pair.effect_size <= 1


def test_holm_corrects_over_all_pairs():
    found = compare({"a": filled(0.1), "b": filled(0.0, seed=1), "c": filled(0.0, seed=2)})
    assert [(p.first, p.second) for p in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [p.p_holm for p in found.pairs] == pytest.approx(holm([p.p_value for p in found.pairs]))
    assert all(p.p_holm >= p.p_value for p in found.pairs)
    assert found.pairs[0].p_holm < 0.05 < found.pairs[2].p_holm
    assert "a - b" in str(found)


def test_holm_equals_the_procedure_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_equal_methods_do_not_differ():
    (pair,) = compare({"a": filled(0.0), "b": filled(0.0)}).pairs
    assert (pair.difference, pair.p_holm, pair.effect_size) == (0.0, 1.0, 0.0)


def test_only_examples_that_both_define_are_compared():
    a, b = filled(0.1), filled(0.0, seed=1)
    a.y[0][:4] = torch.nan
    (pair,) = compare({"a": a, "b": b}).pairs
    assert pair.n_examples == 10
    assert pair.per_example.isnan().tolist() == [True] * 2 + [False] * 10


def test_one_number_of_several_is_compared():
    maps = torch.rand(6, 8, 8)
    masks = torch.rand(6, 8, 8) < 0.3
    a, b = Localization(), Localization()
    a.update(maps + masks, masks)
    b.update(maps, masks)
    (pair,) = compare({"a": a, "b": b}, score="roc_auc").pairs
    assert pair.difference > 0.2
    with pytest.raises(ValueError, match=r"`score` is one of.*got None"):
        compare({"a": a, "b": b})


def test_scores_within_the_unit_interval_have_no_unit_range():
    metrics = {}
    for name, sign in (("good", 1), ("bad", -1)):
        metrics[name] = Insertion(lambda x: 1e-3 * x.mean(1, keepdim=True), reading="score")
        table = torch.arange(36.0).view(9, 4) / 36
        metrics[name].update(table, sign * table, target=0)
    assert compare(metrics).pairs[0].verdict == "higher"


def test_bad_input_is_named(model, images, maps):
    with pytest.raises(ValueError, match=r"`metrics` are two or more.*\['a'\]"):
        compare({"a": filled(0)})
    with pytest.raises(ValueError, match=r"same examples.*'a': 12, 'b': 5"):
        compare({"a": filled(0), "b": filled(0, n=5)})
    aic = AIC(model)
    aic.update(images, maps, target=1)
    with pytest.raises(ValueError, match="no value per example"):
        compare({"a": aic, "b": aic})
    with pytest.raises(TypeError, match=r"`metrics` are metrics.*int"):
        compare({"a": 1, "b": 2})


def of(*gaps, smallest=0.005):
    """The verdict on a method whose values exceed another's by these gaps."""
    gaps = torch.tensor(gaps, dtype=torch.float64)
    values = {"a": 0.5 + gaps / 2, "b": 0.5 - gaps / 2}
    (pair,) = paired(values, [("a", "b")], smallest_of(values, smallest))
    return pair


def test_a_verdict_never_contradicts_its_own_test():
    generator = torch.Generator().manual_seed(0)
    found = set()
    for _ in range(120):
        n = int(torch.randint(1, 60, (), generator=generator))
        size, shift = (torch.randn(2, generator=generator) * 0.05).tolist()
        # Means and medians of these lie on either side of 0.
        gaps = size * ((1.5 * torch.randn(n, generator=generator)).exp() - 2 - 10 * shift)
        pair = of(*gaps.clamp(-0.9, 0.9).tolist())
        found.add(pair.verdict)
        sign = {"higher": 1, "lower": -1}.get(pair.verdict)
        if sign is not None:
            assert sign * pair.difference >= pair.smallest
            assert sign * pair.effect_size > 0
            assert pair.p_holm < 0.05
        if pair.verdict == "mixed":
            assert pair.difference * pair.effect_size <= 0
        if pair.verdict == "tied":
            assert abs(pair.difference) < pair.smallest
    assert {"higher", "lower", "open", "mixed"} <= found


def test_a_few_large_gains_over_many_small_losses_are_mixed():
    pair = of(*[-0.02 - 0.001 * k for k in range(27)], *[0.9] * 3)
    assert pair.difference > 0.025
    assert pair.effect_size < -0.4
    assert (pair.p_holm < 0.05, pair.verdict) == (True, "mixed")


@pytest.mark.parametrize("n", [1, 3, 20])
def test_differences_too_small_to_count_are_ties(n):
    assert of(*[1e-6] * n).verdict == "tied"
    assert of(*[0.0] * n, smallest=0.0).verdict == "tied"
    if n >= 6:
        assert of(*[1e-6] * n).p_holm < 0.001
        assert of(*[1e-6] * n, smallest=0.0).verdict == "higher"


def test_few_or_no_examples_leave_the_question_open():
    assert of(0.1, 0.2, 0.3).verdict == "open"
    nothing = of(torch.nan, torch.nan)
    assert (nothing.n_examples, nothing.verdict) == (0, "open")
    assert all(torch.tensor([nothing.difference, nothing.p_holm, nothing.effect_size]).isnan())


def test_the_range_of_a_score_is_that_of_its_kind_or_what_was_seen():
    assert smallest_of({"a": torch.tensor([0.3, torch.nan]), "b": torch.tensor([0.4])}) == 0.005
    assert smallest_of({"a": torch.tensor([-0.3, 0.2])}) == 0.01
    assert smallest_of({"a": torch.tensor([-10.0]), "b": torch.tensor([30.0])}) == 0.2
    with pytest.raises(ValueError, match=r"`smallest` is a share.*got 5"):
        smallest_of({}, 5)


@pytest.mark.parametrize("n_tests", [1, 2, 5, 17, 45])
def test_what_is_out_of_reach_is_out_of_wilcoxons_reach(n_tests):
    n = n_needed(n_tests)
    for k, reached in ((n - 1, False), (n, True)):
        p = wilcoxon(torch.arange(1.0, k + 1).numpy()).pvalue
        assert (holm([p] + [1.0] * (n_tests - 1))[0] < 0.05) is reached
        assert (out_of_reach(k, n_tests) == "") is reached


def test_a_comparison_says_what_it_could_not_tell():
    text = str(compare({"a": filled(0.0, 5), "b": filled(0.3, 5, seed=1)}))
    assert "Mean differences below 0.005 do not count." in text
    assert "with 5 examples: 1 comparison needs 6." in text
    assert "No difference" not in str(compare({"a": filled(0.0), "b": filled(0.0)}))


@pytest.mark.parametrize("shared", [0, 1, 2, 5, 6, 9])
def test_a_pair_is_told_apart_in_one_way_wherever_it_is_asked(shared):
    """In a comparison, against a method, and by who is best, also of pairs without an example."""
    generator = torch.Generator().manual_seed(shared)
    values = {name: torch.rand(9, generator=generator) + k for k, name in enumerate("ab")}
    values["a"][shared:] = torch.nan
    pairs = paired(values, [("b", "a")], smallest_of(values, 0.01))
    (pair,) = pairs
    beside = differences(values, "a", 0.01)["b"]
    said = (pair.difference, *pair.interval, pair.p_holm, pair.effect_size, pair.n_examples)
    assert str(astuple(beside)[:-1]) == str(said)
    assert beside.verdict == pair.verdict
    limit = limit_of([(beside.n, beside.p_value)])
    assert limit in str(Comparison(pairs))
    assert ("No difference" in str(Comparison(pairs))) is bool(limit)
    assert bool(limit) is (0 < shared < 6)
    means = {name: float(value.nanmean()) for name, value in values.items()}
    if shared:
        place = standing(means, values, True, smallest_of(values, 0.01))
        assert (place.first, place.limit) == ("b", limit.replace("example", "image"))
        assert (place.best == "b") is (pair.verdict == "higher")


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_compute_interval_and_compare_speak_of_one_number():
    generator = torch.Generator().manual_seed(4)
    checks = {}
    for name in "ab":
        checks[name] = DataRandomization(lambda model: model, similarity=["spearman"])
        table = torch.rand(9, 3, generator=generator)
        table[2, 1:] = torch.nan
        checks[name]._tables = lambda table=table: {"spearman": table}
    (pair,) = compare(checks, score="spearman").pairs
    values = {k: check.compute()["spearman"] for k, check in checks.items()}
    assert pair.difference == pytest.approx(float(values["a"] - values["b"]))
    low, high = checks["a"].interval(level=0.01)["spearman"]
    assert float(low) == pytest.approx(float(values["a"]), abs=0.02)
    assert float(high) == pytest.approx(float(values["a"]), abs=0.02)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("digits", [0, 1, 9])
def test_wilcoxons_p_is_the_share_of_signs_as_extreme(n, digits):
    generator = torch.Generator().manual_seed(10 * n + digits)
    gaps = torch.randn(n, generator=generator, dtype=torch.float64).round(decimals=digits)
    gaps[0] = 1.5
    moved = gaps[gaps != 0].numpy()
    ranks = rankdata(abs(moved))
    sums = [ranks[list(signs)].sum() for signs in product([True, False], repeat=len(moved))]
    reached = ranks[moved > 0].sum()
    expected = min(1.0, 2 * min(np.mean(sums <= reached), np.mean(sums >= reached)))
    assert signed_ranks(gaps)[0] == pytest.approx(expected)


@pytest.mark.parametrize("n", [6, 20, 50, 51, 200])
def test_without_ties_the_p_is_scipys(n):
    gaps = torch.randn(n, generator=torch.Generator().manual_seed(n), dtype=torch.float64) + 0.3
    assert signed_ranks(gaps)[0] == pytest.approx(wilcoxon(gaps.numpy()).pvalue)


def test_five_equal_gains_are_no_proof():
    assert signed_ranks(torch.ones(5))[0] == 0.0625
