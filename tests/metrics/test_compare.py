"""Comparisons of methods: scipy, worked cases, bad input."""

import pytest
import torch
from scipy.stats import wilcoxon

from captum_ext.metrics import AIC, Insertion, Localization, compare
from captum_ext.metrics.compare import holm


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


def test_bad_input_is_named(model, images, maps):
    with pytest.raises(ValueError, match=r"`metrics` are two or more.*\['a'\]"):
        compare({"a": filled(0)})
    with pytest.raises(ValueError, match=r"same examples.*'a': 12, 'b': 5"):
        compare({"a": filled(0), "b": filled(0, n=5)})
    with pytest.raises(ValueError, match="at least 2 examples"):
        compare({"a": filled(0, n=1), "b": filled(0, n=1)})
    aic = AIC(model)
    aic.update(images, maps, target=1)
    with pytest.raises(ValueError, match="no value per example"):
        compare({"a": aic, "b": aic})
    with pytest.raises(TypeError, match=r"`metrics` are metrics.*int"):
        compare({"a": 1, "b": 2})
