"""Of every column: examples with a value and reasons of the others are the examples given."""

import json
import math

import pytest
import torch
from captum.attr import Saliency

from captum_ext.cli.tables import as_text
from captum_ext.evaluation import evaluate, write_report
from captum_ext.metrics import AIC, Insertion, Localization

FAULTS = ("none", "no mask", "empty mask", "nan", "unreadable", "no such class", "method", "map")


class Some(list):
    """Data of which some items can't be read."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        if item is None:
            raise OSError("damaged file")
        return item


def item(fault, generator):
    image = torch.rand(3, 20, 16, generator=generator)
    image[0, 0, 0] = {"method": 1.0, "map": 0.0}.get(fault, 0.5)
    mask = torch.rand(20, 16, generator=generator) < 0.3
    if fault == "nan":
        image[1, 1, 1] = math.nan
    if fault == "empty mask":
        mask[:] = False
    target = 77 if fault == "no such class" else 0
    return None if fault == "unreadable" else (image, target, None if fault == "no mask" else mask)


class Fussy(Saliency):
    """Fails where the first pixel is 1, and gives nan where it is 0."""

    def attribute(self, inputs, target=None):
        if (inputs[:, 0, 0, 0] == 1).any():
            raise ValueError("not this one")
        maps = super().attribute(inputs, target=target)
        return torch.where((inputs[:, :1, :1, :1] == 0), math.nan, maps)


def found_of(net, faults):
    generator = torch.Generator().manual_seed(len(faults))
    data = Some(item(fault, generator) for fault in faults)
    net = torch.nn.Sequential(*net, torch.nn.Softmax(1)).eval()
    how = {"plain": Saliency(net), "fussy": Fussy(net)}
    what = {"insertion": Insertion(net, n_steps=2), "aic": AIC(net), "place": Localization()}
    return evaluate(net, data, how, what, batch_size=3, seed=0)


@pytest.mark.parametrize("seed", range(4))
def test_values_and_reasons_are_all_examples(seed, net):
    generator = torch.Generator().manual_seed(seed)
    faults = [FAULTS[k] for k in torch.randint(len(FAULTS), (9,), generator=generator)]
    found = found_of(net, ["none", *faults])
    for column, by_method in found.counts.items():
        for method, count in by_method.items():
            assert count.n + sum(count.reasons.values()) == 10, (column, method, count)
            assert "" not in count.reasons
            if column in found.values:
                assert count.n == int((~found.values[column][method].isnan()).sum())
            record = next(row for row in found.records if row["method"] == method)
            assert record[f"{column}_n"] == count.n


def test_reasons_are_those_of_each_column_and_method(net):
    found = found_of(net, FAULTS)
    left_out = {
        "its image has nan or inf": 1,
        "damaged file": 1,
        "its class 77 is not one of the model's 5": 1,
    }
    plain, fussy = (found.counts["insertion"][m] for m in ("plain", "fussy"))
    assert (plain.n, plain.reasons) == (5, left_out)
    own = {"not this one": 1, "attributions not finite": 1}
    assert (fussy.n, fussy.reasons) == (3, left_out | own)
    unmarked = {"no annotation": 1, "annotation empty": 1}
    assert found.counts["roc_auc"]["plain"].reasons == left_out | unmarked
    assert found.counts["roc_auc"]["fussy"].reasons == left_out | unmarked | own
    assert found.counts["aic"]["plain"].n == 5


def test_terminal_page_and_json_say_what_is_missing(net, tmp_path):
    found = found_of(net, [*["none"] * 6, *["no mask"] * 5])
    text = as_text(found, {m: m for m in found.methods}, "plain")
    line = (
        "roc_auc, f1, mae, pointing_game, energy: from 6 of 11 images; left out: 5 (no annotation)"
    )
    assert line in text
    write_report(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert line in page
    assert "Nothing was left out" not in page
    assert "<small>6 images</small>" in page
    found.to_json(tmp_path / "r.json")
    counts = json.loads((tmp_path / "r.json").read_text())["counts"]
    assert counts["energy"]["fussy"] == {"n": 6, "reasons": {"no annotation": 5}}
    assert counts["insertion"]["plain"] == {"n": 11, "reasons": {}}


def test_only_where_nothing_is_missing_nothing_was_left_out(net, tmp_path):
    found = found_of(net, ["none"] * 2)
    write_report(found, tmp_path / "page.html")
    assert "Nothing was left out" in (tmp_path / "page.html").read_text()
    with pytest.warns(
        DeprecationWarning, match=r"to_html is now captum_ext.evaluation.write_report"
    ):
        found.to_html(tmp_path / "old.html")
    assert (tmp_path / "old.html").read_text() == (tmp_path / "page.html").read_text()
    assert "left out" not in as_text(found, {m: m for m in found.methods}, "plain")


def mixed(n_labeled, n):
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(3, 20, 16, generator=generator), 1 if k < n_labeled else None)
            for k in range(n)]  # fmt: skip


@pytest.mark.parametrize(("n_labeled", "words"), [(1, "4 of 5 images have no label"),
                                                  (0, "none of 5 images has a label")])  # fmt: skip
def test_predictions_for_labels_are_counted_and_said(n_labeled, words, net, tmp_path):
    found = evaluate(net, mixed(n_labeled, 5), {"a": Saliency(net)},
                     {"insertion": Insertion(net, n_steps=2)}, batch_size=2, seed=0,
                     out=tmp_path / "out")  # fmt: skip
    assert found.n_unlabeled == 5 - n_labeled
    assert words in as_text(found, {"a": "a"}, "a")
    write_report(found, tmp_path / "page.html")
    assert words.capitalize() in (tmp_path / "page.html").read_text()
    assert found.as_dict()["examples"] == {"seen": 5, "kept": 5, "unlabeled": 5 - n_labeled}


def test_examples_without_label_can_be_left_out(net):
    how, what = {"a": Saliency(net)}, {"insertion": Insertion(net, n_steps=2)}
    given = {"methods": how, "metrics": what, "batch_size": 2, "seed": 0}
    found = evaluate(net, mixed(1, 5), unlabeled="skip", **given)
    assert found.counts["insertion"]["a"].reasons == {"no label": 4}
    assert (found.n_unlabeled, found.counts["insertion"]["a"].n) == (0, 1)
    assert "label:" not in as_text(found, {"a": "a"}, "a")
    with pytest.raises(ValueError, match=r"`unlabeled` is one of.*got 'guess'"):
        evaluate(net, mixed(1, 5), unlabeled="guess", **given)
