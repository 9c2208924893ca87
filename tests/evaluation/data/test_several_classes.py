"""Images of several classes: each class explained and scored, one value for an image."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import nn
from torch.utils.data import DataLoader

from captum_ext import ImageClassifier
from captum_ext.attr import Configured
from captum_ext.evaluation import evaluate, write_report
from captum_ext.evaluation.report.pictures import address
from captum_ext.evaluation.report.sentences import on_classes
from captum_ext.metrics import (
    AIC,
    ROAD,
    SIC,
    Deletion,
    Insertion,
    Localization,
    SensitivityN,
    TableMetric,
)
from captum_ext.metrics.information.bins import BinnedPoints
from captum_ext.metrics.information.protocol import PRESETS
from captum_ext.viz.thumbnails import tinted

N_CLASSES = 5
CLASSES = [(0, 3), (1,), (2, 3, 4), (0, 1), (4,), (1, 2, 3), (0, 4)]


class Net(nn.Module):
    def __init__(self, n=N_CLASSES):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.register_buffer("w", torch.randn(n, 3 * 12 * 12, generator=generator))

    def forward(self, x):
        return torch.tanh(x.flatten(1) - 0.5) @ self.w.T / 4


def classifier(activation="sigmoid", **more):
    return ImageClassifier(Net(**more).eval(), [0.0] * 3, [1.0] * 3, activation=activation)


def image(k):
    return torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(10 + k))


def mask(k):
    found = torch.zeros(12, 12)
    found[k % 4 : 6, 2:7] = 1
    return found


def hot(classes, n=N_CLASSES):
    return torch.zeros(n).index_fill(0, torch.tensor(classes, dtype=torch.long), 1)


def items(form=hot):
    return [(image(k), form(classes), mask(k)) for k, classes in enumerate(CLASSES)]


def methods(model):
    return {"ig": Configured(IntegratedGradients(model), n_steps=4), "saliency": Saliency(model)}


def metrics(model):
    return {
        "insertion": Insertion(model, n_steps=3),
        "deletion": Deletion(model, n_steps=3, relative=True),
        "road": ROAD(model, percentages=[30, 60], reading="probability"),
        "localization": Localization(),
    }


def run(data=None, model=None, measured=metrics, methods=methods, **options):
    model = model or classifier()
    how = {"batch_size": 3, "seed": 0, **options}
    return evaluate(
        model, items() if data is None else data, methods(model), measured(model), **how
    )


def curve_alone(model):
    return {"insertion": Insertion(model, n_steps=3)}


def without_time(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def by_hand(model, name, k, target):
    """What each metric says of one class of an image."""
    x = image(k)[None]
    method = IntegratedGradients(model) if name == "ig" else Saliency(model)
    maps = method.attribute(x, target=target, **({"n_steps": 4} if name == "ig" else {}))
    found = {}
    for key, metric in metrics(model).items():
        if key == "localization":
            metric.update(maps, mask(k)[None])
            found |= {score: float(v[0]) for score, v in metric.per_example.items()}
        else:
            metric.update(x, maps, target=target)
            found[key] = float(metric.per_example[0])
    return found


def test_an_image_has_the_mean_over_its_classes_and_each_class_a_row():
    model, found = classifier(), run()
    rows = {(row["example"], row["target"], row["method"]): row for row in found.per_example}
    assert len(rows) == len(found.per_example) == 2 * sum(map(len, CLASSES))
    for name in ("ig", "saliency"):
        for k, classes in enumerate(CLASSES):
            alone = {target: by_hand(model, name, k, target) for target in classes}
            for target, scores in alone.items():
                row = rows[str(k), target, name]
                answer = model(image(k)[None])[0, target].item()
                assert row["probability"] == pytest.approx(answer, abs=1e-6)
                assert {c: row[c] for c in scores} == pytest.approx(scores, abs=1e-6, nan_ok=True)
            for column in found.columns:
                mean = np.mean([scores[column] for scores in alone.values()])
                value = float(found.values[column][name][k])
                assert value == pytest.approx(mean, abs=1e-6, nan_ok=True)
    record = found.records[0]
    assert record["insertion"] == pytest.approx(float(found.values["insertion"]["ig"].mean()))
    assert record["gradients"] == pytest.approx(4 * sum(map(len, CLASSES)) / len(CLASSES))
    area = found.curves["insertion"]["ig"].area()
    assert float(area[0]) == pytest.approx(record["insertion"])


def test_images_are_what_intervals_and_tests_count():
    found = run()
    n = len(CLASSES)
    assert all(row["insertion_n"] == row["n_examples"] == n for row in found.records)
    assert found.significance("ig")["insertion"]["saliency"].n == n
    assert found.counts["insertion"]["ig"].n == n
    twice = run([(image(k), hot(CLASSES[k][:1])) for k in range(n)], measured=curve_alone)
    assert twice.n_pairs == 0
    metric = found.metrics["insertion"]["ig"]
    assert [*map(float, metric.interval())] == [
        found.records[0]["insertion_low"], found.records[0]["insertion_high"]]  # fmt: skip


def test_how_many_pairs_and_images_is_said(tmp_path):
    found = run(measured=curve_alone)
    n = sum(map(len, CLASSES))
    assert found.as_dict()["examples"] == {
        "seen": 7, "kept": 7, "unlabeled": 0, "pairs": n, "pairs_left_out": 0}  # fmt: skip
    found.class_names = {k: f"kind {k}" for k in range(N_CLASSES)}
    write_report(found, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert f"7 images have {n} labels" in page
    value = float(found.values_by_class["insertion"]["saliency"][1])
    at = page.index('alt="map of saliency of 0, kind 3"')
    assert f"<small>{value:.2f}</small></span>" in page[at : page.index("</span>", at) + 8]
    (first, second), (one,) = (found.maps_of(k, "saliency") for k in (0, 1))
    assert len({first, second, one}) == 3
    assert page.count(address(tinted(second))) == page.count(address(tinted(first)))
    found.to_csv(tmp_path / "each.csv", per_example=True)
    with (tmp_path / "each.csv").open() as file:
        assert len([*csv.DictReader(file)]) == 2 * n


def test_lists_arrays_batches_and_dicts_are_the_same():
    named = [{"inputs": x, "target": target, "mask": m} for x, target, m in items()]
    forms = (items(), items(list), items(lambda classes: hot(classes).numpy() > 0), named,
             DataLoader(items(), batch_size=4), DataLoader(named, batch_size=4))  # fmt: skip
    found = [without_time(run(form, measured=curve_alone).per_example) for form in forms]
    assert len(found[0]) == 2 * sum(map(len, CLASSES))
    assert all(rows == found[0] for rows in found)


def test_methods_that_share_a_walk_have_the_map_of_each_class():
    model = classifier()
    found = [
        evaluate(model, items(), ["ig", "idgi-ig"], curve_alone(model), batch_size=size, seed=0)
        for size in (1, 3)
    ]
    one, three = ([row["insertion"] for row in each.per_example] for each in found)
    assert one == pytest.approx(three, abs=1e-5)


def by_class(k, classes):
    """A region of each class, all different."""
    found = torch.zeros(len(classes), 12, 12)
    for place, target in enumerate(classes):
        found[place, target : target + 4, k : k + 5] = 1
    return found


def located(data, model=None, **options):
    made = lambda model: {"localization": Localization(tolerance=0.0)}  # noqa: E731
    by = lambda model: {"saliency": Saliency(model)}  # noqa: E731
    return run(data, model, made, by, **options)


def test_the_map_of_a_class_is_held_against_the_region_of_its_class(tmp_path):
    model = classifier()
    forms = [
        [(image(k), hot(c), by_class(k, c)) for k, c in enumerate(CLASSES[:3])],
        [(image(k), [*c[::-1]], by_class(k, c[::-1])) for k, c in enumerate(CLASSES[:3])],
        [
            {"inputs": image(k), "target": hot(c), "mask": by_class(k, range(N_CLASSES))}
            for k, c in enumerate(CLASSES[:3])
        ],
    ]
    outs = [tmp_path, None, None]
    found = [located(form, model, out=out) for form, out in zip(forms, outs, strict=True)]
    for k, classes in enumerate(CLASSES[:3]):
        alone = []
        for region, target in zip(by_class(k, classes), classes, strict=True):
            metric = Localization(tolerance=0.0)
            metric.update(Saliency(model).attribute(image(k)[None], target=target), region[None])
            alone.append(float(metric.compute()["roc_auc"]))
        for one in found:
            value = float(one.values["roc_auc"]["saliency"][k])
            assert value == pytest.approx(np.mean(alone), abs=1e-6)
    assert found[0].n_one_region == 0
    again = located(forms[0], model, out=tmp_path)
    assert without_time(again.per_example) == without_time(found[0].per_example)


def test_one_region_for_all_classes_is_said(tmp_path):
    data = items()[:3]
    data.append((image(3), hot(CLASSES[3]), by_class(3, CLASSES[3])))
    found = located(data, out=tmp_path)
    assert found.n_one_region == 2 == located(data, out=tmp_path).n_one_region
    assert on_classes(found).endswith(
        "in 2 images one annotated region stands for all their classes"
    )


def test_regions_that_are_of_no_classes_leave_their_image_out():
    data = [(image(0), [0, 3], by_class(0, range(3))), (image(1), 1, by_class(1, range(N_CLASSES))),
            (image(2), 1, by_class(2, range(2)))]  # fmt: skip
    found = located(data)
    assert [one.reason for one in found.seen] == [
        "its masks are 3, but it has 2 of the model's 5 classes",
        None,
        "its masks are 2, but it has 1 of the model's 5 classes",
    ]
    metric = Localization(tolerance=0.0)
    maps = Saliency(classifier()).attribute(image(1)[None], target=1)
    metric.update(maps, by_class(1, range(N_CLASSES))[1][None])
    assert float(found.values["roc_auc"]["saliency"][0]) == pytest.approx(
        float(metric.compute()["roc_auc"])
    )


class StoppedError(Exception):
    pass


def test_a_run_that_was_stopped_ends_with_the_same_numbers(tmp_path):
    def stop(what, done, of):
        if done == 3:
            raise StoppedError

    whole = run()
    with pytest.raises(StoppedError):
        run(out=tmp_path, progress=stop)
    resumed = run(out=tmp_path)
    assert without_time(resumed.records) == without_time(whole.records)
    assert without_time(resumed.per_example) == without_time(whole.per_example)
    other = items()
    other[2] = (image(2), hot((2, 3)), mask(2))
    with pytest.raises(ValueError, match="the target of example 2 has changed"):
        run(other, out=tmp_path)


def test_only_predicted_classes_are_kept_and_the_others_counted():
    model = classifier()
    found = run(only_correct=True)
    answers = torch.cat([model(image(k)[None]) for k in range(len(CLASSES))])
    right = [[c for c in classes if answers[k, c] >= 0.5] for k, classes in enumerate(CLASSES)]
    assert any(0 < len(one) < len(all_) for one, all_ in zip(right, CLASSES, strict=True))
    kept = [k for k, one in enumerate(right) if one]
    assert [one.position for one in found.kept] == kept
    assert [[target for target, _ in one.pairs] for one in found.kept] == [right[k] for k in kept]
    assert found.n_pairs == sum(map(len, right))
    assert found.n_pairs_left_out == sum(len(CLASSES[k]) - len(right[k]) for k in kept)
    assert found.reasons.get("not classified correctly", 0) == len(CLASSES) - len(kept)


def test_no_label_and_labels_that_are_not_the_models_are_reasons():
    data = [(image(0), hot([])), (image(1), hot([1, 2], 4)), (image(2), [1, 9]),
            (image(3), hot([0, 1]))]  # fmt: skip
    found = run(data, measured=curve_alone)
    assert [one.reason for one in found.seen] == [
        "no label",
        "its vector is of 4 classes, the model's are 5",
        "its class 9 is not one of the model's 5",
        None,
    ]


def test_a_class_without_a_value_leaves_its_image_without_one():
    # The map of a class that no pixel moves has no positive attribution.
    model = classifier()
    model.model.w[3] = 0
    found = run(model=model, measured=lambda model: {"localization": Localization()})
    energy = found.values["energy"]["saliency"]
    assert [bool(v) for v in energy.isnan()] == [3 in classes for classes in CLASSES]
    assert found.counts["energy"]["saliency"].reasons == {"no positive attribution": 3}


def test_a_metric_without_a_value_of_each_image_says_so():
    class Spread(TableMetric):
        def _tables(self):
            return {"spread": self._rows("codes").double()}

        def update(self, attributions):
            self._append(codes=torch.zeros(len(attributions)))

    data = [(image(0), [0, 1]), (image(1), [2])]
    found = run(data, measured=lambda model: {"own": Spread(), **curve_alone(model)})
    reasons = {(row["example"], row["metric"]): row["reason"] for row in found.excluded}
    assert reasons["0", "own"] == "it has no mean over an image's classes"
    assert ("1", "own") not in reasons
    assert found.records[0]["insertion_n"] == 2


def information(model):
    fractions = (0.0, 0.2, 0.5, 1.0)
    preset = replace(PRESETS["tmlr"], min_score=0.0, n_points=11, fractions=fractions)
    return {
        "median": AIC(model, preset=replace(preset, aggregate="median")),
        "mean": SIC(model, preset=preset),
        "sensitivity": SensitivityN(model, shares=[0.2, 0.5], n_subsets=4),
    }


def test_information_curves_and_correlations_are_means_over_classes():
    model = classifier()
    by = lambda model: {"saliency": Saliency(model)}  # noqa: E731
    found = run(items()[2:5], model, information, by)
    for k, classes in enumerate(CLASSES[2:5]):
        x, rows = image(k + 2)[None], []
        for target in classes:
            alone, maps = information(model), Saliency(model).attribute(x, target=target)
            for metric in alone.values():
                metric.update(x, maps, target=target)
            shares = alone["sensitivity"].per_example
            rows.append([float(alone[n].per_example) for n in ("median", "mean")])
            rows[-1] += [float(shares[share]) for share in ("0.2", "0.5")]
        read = [float(found.values[c]["saliency"][k]) for c in ("median", "mean", "0.2", "0.5")]
        assert read == pytest.approx(np.mean(rows, 0), abs=1e-6, nan_ok=True)
    metric, values = found.metrics["mean"]["saliency"], found.values["mean"]["saliency"]
    assert found.counts["mean"]["saliency"].n > 0
    assert float(metric.compute()) == pytest.approx(float(values.nanmean()))
    assert float(metric.curve().area()) == pytest.approx(float(values.nanmean()), abs=1e-6)
    undefined = found.metrics["median"]["saliency"].excluded
    assert found.counts["median"]["saliency"].reasons == undefined


def test_an_image_weighs_one_in_bins_whatever_its_classes():
    # Class 0 answers 1 everywhere, class 1 nowhere: an image of both is worth 1/2.
    class Fixed(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :1] * 0 + torch.tensor([9.0, -9.0])

    model = ImageClassifier(Fixed().eval(), [0.0] * 3, [1.0] * 3, activation="sigmoid")
    preset = replace(PRESETS["idgi"], n_bins=1)
    data = [(image(0), [0, 1]), (image(1), [0]), (image(2), [0])]
    found = run(data, model, lambda model: {"aic": AIC(model, preset=preset)})
    metric = found.metrics["aic"]["saliency"]
    assert float(metric.compute()) == pytest.approx((0.5 + 1 + 1) / 3)
    assert found.counts["aic"]["saliency"].n == len(metric.undefined["value"]) == 3


def test_bins_count_a_points_share_of_its_example():
    x, y = torch.full((4, 1), 0.5), torch.tensor([[1.0], [2.0], [6.0], [5.0]])
    owner, everyone = torch.tensor([0, 0, 0, 1]), torch.tensor([[0, 1]])
    # 1, 2 and 6 count a third of what 5 counts: (3 + 5) / 2, and the middle of 1 2 5 5 5 6.
    for median, value in [(False, 4.0), (True, 5.0)]:
        points = BinnedPoints(x, y, 1, median, owner)
        assert points.n_examples == 2
        assert float(points.areas(everyone)) == value
    alone = BinnedPoints(x[:3], y[:3], 1, True, owner[:3])
    assert float(alone.areas(torch.tensor([[0]]))) == 2.0
    lonely = BinnedPoints(x[:3], y[:3], 1, True)
    assert float(lonely.areas(torch.tensor([[0, 1, 2]]))) == 2.0


def test_curves_by_elements_are_averaged_too():
    groups = torch.arange(12).repeat(12, 1).div(3, rounding_mode="floor")
    data = [{"inputs": image(k), "target": [0, 3], "feature_mask": groups} for k in range(2)]

    def by_elements(model):
        return {"insertion": Insertion(model, n_steps=3, unit="elements")}

    model, found = classifier(), run(data, measured=by_elements)
    for k in range(2):
        alone = []
        for target in (0, 3):
            metric = by_elements(model)["insertion"]
            maps = Saliency(model).attribute(image(k)[None], target=target)
            metric.update(image(k)[None], maps, target=target, feature_mask=groups[None])
            alone.append(float(metric.compute()))
        value = float(found.values["insertion"]["saliency"][k])
        assert value == pytest.approx(np.mean(alone), abs=1e-6)


@pytest.mark.parametrize(
    "model", [classifier("softmax"), nn.Sequential(Net(), nn.Sigmoid()).eval()]
)
def test_classes_that_exclude_one_another_are_refused(model):
    with pytest.raises(ValueError, match=r"example 0 the classes .*exclude one another"):
        run(model=model)


def test_two_logits_are_two_labels_and_one_is_not():
    def model(n):
        net = Net(n).eval()
        return ImageClassifier(net, [0.0] * 3, [1.0] * 3, ["cat", "dog"], activation="sigmoid")

    found = run([(image(0), [0, 1])], model(2), measured=curve_alone)
    assert found.n_pairs == 2
    with pytest.raises(ValueError, match="exclude one another"):
        run([(image(0), [0, 1])], model(1))


def test_several_outputs_of_scores():
    def scores(x):
        return torch.stack([x.mean((1, 2, 3)), -x.mean((1, 2, 3)), x.amax((1, 2, 3))], 1)

    found = evaluate(scores, [(image(k), [0, 2]) for k in range(2)], ["saliency"], ["insertion"],
                     batch_size=2, seed=0, reading="score")  # fmt: skip
    assert [row["target"] for row in found.per_example] == [0, 2, 0, 2]
    assert found.per_example[1]["score"] == pytest.approx(float(image(0).amax()))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ([0, 1, 0, 1], "a list of different numbers"),
        ([True, False], "a list of different numbers"),
        ((torch.tensor(0), torch.tensor(1)), "a list of different numbers"),
        (torch.tensor([0.5, 1.0]), "a vector of 0 and 1"),
        (torch.tensor([3, 4]), "a vector of 0 and 1"),
    ],
)
def test_targets_that_may_mean_two_things_are_refused(target, words):
    with pytest.raises(TypeError, match=words):
        run([(image(0), target)])


def test_lists_that_a_loader_has_mixed_are_refused():
    loader = DataLoader([(image(k), [k, k + 1]) for k in range(2)], batch_size=2)
    with pytest.raises(TypeError, match=r"one tensor \(N, classes\) of 0 and 1"):
        run(loader)
