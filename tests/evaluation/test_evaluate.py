"""What `evaluate` gives, and that nothing an image does affects another."""

import math

import pytest
import torch
from captum.attr import (
    GradientShap,
    GuidedGradCam,
    IntegratedGradients,
    LayerGradCam,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from torch.utils.data import DataLoader, TensorDataset

from captum_ext import ImageClassifier
from captum_ext.attr import IDGI, RISE, BlurIG, Configured, GradCam, GuidedIG, PathAttribution
from captum_ext.evaluation import evaluate, write_report
from captum_ext.metrics import Insertion, Localization
from captum_ext.path import StraightLine
from tests.evaluation.conftest import data, methods, metrics, without_time


def run(net, items=None, how=None, what=None, **options):
    given = {"batch_size": 2, "seed": 0, **options}
    return evaluate(net, items or data(), how or methods(net), what or metrics(net), **given)


def test_the_table_is_what_a_metric_over_all_images_says(net):
    found = run(net, data(8))
    images, targets = (
        torch.stack([torch.as_tensor(x) for x in c]) for c in zip(*data(8), strict=True)
    )
    metric = Insertion(net, n_steps=5)
    metric.update(images, Saliency(net).attribute(images, target=targets), target=targets)
    row = found.records[0]
    assert math.isclose(row["insertion"], float(metric.compute()), rel_tol=1e-5)
    assert math.isclose(row["insertion_low"], float(metric.interval()[0]), rel_tol=1e-5)
    torch.testing.assert_close(found.values["insertion"]["gradient"], metric.per_example)
    torch.testing.assert_close(found.curves["insertion"]["gradient"].y, metric.curve().y)


def test_model_evaluations_are_counted_per_image(net):
    rows = {row["method"]: row for row in run(net).records}
    assert (rows["gradient"]["forwards"], rows["gradient"]["gradients"]) == (0, 1)
    assert (rows["ig"]["forwards"], rows["ig"]["gradients"]) == (0, 4)


def test_methods_that_share_a_walk_give_what_they_give_alone(net):
    def broken(here, there):
        raise ValueError("no rule")

    def made(model):
        paths = {"blur": BlurIG(model, 3.0), "idgi": IDGI(BlurIG(model, 3.0))}
        paths["bad"] = PathAttribution(model, StraightLine(), broken)
        paths["line"] = PathAttribution(model, StraightLine())
        return {name: Configured(method, n_steps=3) for name, method in paths.items()}

    together = run(net, how=made(net))
    rows = {row["method"]: row for row in together.records}
    assert [(rows[name]["gradients"], rows[name]["forwards"]) for name in ("blur", "idgi")] == [
        (4, 1), (4, 1)
    ]  # fmt: skip
    assert any(note.startswith("blur and idgi share a walk") for note in together.notes)
    for name, method in made(net).items():
        alone = run(net, how={name: method})
        for column, by_method in alone.values.items():
            assert torch.equal(by_method[name].nan_to_num(-1),
                               together.values[column][name].nan_to_num(-1))  # fmt: skip
    assert together.values["insertion"]["bad"].isnan().all()
    assert together.values["insertion"]["line"].isfinite().all()


@pytest.mark.parametrize("batch_size", [1, 3, 5, 8])
def test_results_do_not_depend_on_the_batch(batch_size, net):
    one, other = run(net), run(net, batch_size=batch_size)
    for column, by_method in one.values.items():
        for method, values in by_method.items():
            torch.testing.assert_close(values, other.values[column][method], atol=1e-5, rtol=0)


class Noisy(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x + 0.1 * torch.randn_like(x))


@pytest.mark.parametrize("names", [("line", "idgi", "gradient", "rise"), ("rise", "idgi")])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_model_with_noise_gives_the_same_beside_anything(names, batch_size, net):
    noisy = Noisy(net).eval()

    def values(names, batch_size):
        line = PathAttribution(noisy, StraightLine())
        made = {"line": Configured(line, n_steps=3), "idgi": Configured(IDGI(line), n_steps=3)}
        made |= {"gradient": Saliency(noisy), "rise": Configured(RISE(noisy), n_masks=8)}
        how = {name: made[name] for name in names}
        return run(noisy, data(3), how, metrics(noisy), batch_size=batch_size).values

    torch.manual_seed(batch_size)
    together = values(names, batch_size)
    for name in names:
        for column, alone in values([name], 2).items():
            assert torch.equal(alone[name], together[column][name])


def test_lists_loaders_and_generators_give_the_same(net):
    items = data()
    images, targets = torch.stack([x for x, _ in items]), torch.tensor([t for _, t in items])
    loader = DataLoader(TensorDataset(images, targets), batch_size=3)
    rows = [
        without_time(run(net, kind).records)
        for kind in (items, loader, iter(items), iter([(images, targets)]))
    ]
    assert rows[0] == rows[1] == rows[2] == rows[3]


def test_captums_own_methods_work(net):
    layer = net[2]
    how = {
        "saliency": Saliency(net),
        "ig": IntegratedGradients(net),
        "shap": Configured(GradientShap(net), baselines=torch.zeros(1, 3, 20, 16), n_samples=2),
        "occlusion": Configured(Occlusion(net), sliding_window_shapes=(3, 10, 8)),
        "layer-grad-cam": LayerGradCam(net, layer),
        "grad-cam": GradCam(net),
        "guided-grad-cam": GuidedGradCam(net, layer),
        "noise-tunnel": Configured(NoiseTunnel(Saliency(net)), nt_samples=2, stdevs=0.1),
        "guided-ig": Configured(GuidedIG(net), n_steps=3),
        "blur-ig": Configured(BlurIG(net, 3.0), n_steps=3),
        "idgi": Configured(IDGI(IntegratedGradients(net)), n_steps=3),
    }  # fmt: skip
    found = run(net, how=how)
    assert found.excluded == []
    assert all(0 <= row["insertion"] <= 1 and row["n_examples"] == 5 for row in found.records)


def test_a_random_method_is_repeatable_and_leaves_the_global_state(net):
    how = {"shap": Configured(GradientShap(net), baselines=torch.zeros(1, 3, 20, 16), stdevs=0.1)}
    before = torch.get_rng_state()
    first = run(net, how=how)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert without_time(run(net, how=how).records) == without_time(first.records)
    assert without_time(run(net, how=how, seed=1).records) != without_time(first.records)


class Fussy(torch.nn.Module):
    """Fails for images whose first pixel is 1."""

    def __init__(self, net):
        super().__init__()
        self.net = net.eval()

    def forward(self, x):
        if (x[:, 0, 0, 0] == 1).any():
            raise RuntimeError("I don't like this one")
        return self.net(x)


def test_what_fails_for_one_image_is_counted_and_others_are_unaffected(net):
    whole = run(net)
    items = data()
    items[2][0][0, 0, 0] = 1
    how = {"gradient": Saliency(Fussy(net).eval()), "ig": methods(net)["ig"]}
    found = run(net, items, how)
    assert [(e["example"], e["method"], e["reason"]) for e in found.excluded] == [
        ("2", "gradient", "I don't like this one")
    ]
    assert [row["n_examples"] for row in found.records] == [4, 5]
    left = found.values["insertion"]["gradient"]
    assert left[2].isnan()
    kept = [0, 1, 3, 4]
    torch.testing.assert_close(left[kept], whole.values["insertion"]["gradient"][kept])


def test_a_metric_that_fails_for_one_image_is_counted(net):
    items = data()
    items[1][0][0, 0, 0] = 1
    found = run(net, items, what={"insertion": Insertion(Fussy(net).eval(), n_steps=3)})
    reasons = {(e["example"], e["metric"], e["reason"]) for e in found.excluded}
    assert reasons == {("1", "insertion", "I don't like this one")}
    assert not math.isnan(found.records[0]["insertion"])


class Files(list):
    """Data whose second item can't be read."""

    def __getitem__(self, index):
        if index == 1:
            raise OSError("damaged file")
        return super().__getitem__(index)


@pytest.mark.parametrize("failing", [["gradient"], ["gradient", "ig"]])
def test_a_metric_of_several_numbers_may_have_read_nothing(failing, net, tmp_path):
    class Broken(Saliency):
        def attribute(self, inputs, target=None):
            raise ValueError("no map")

    items = [(image, target, torch.ones(20, 16)) for image, target in data(3)]
    items[0][2][:9] = 0
    how = methods(net) | dict.fromkeys(failing, Broken(net))
    found = evaluate(net, items, how, {"where": Localization()}, batch_size=2, seed=0)
    known = ["where"] if len(failing) == 2 else ["roc_auc", "f1", "mae", "pointing_game", "energy"]
    assert [*found.columns] == known
    row, other = found.records
    assert all(row[c] != row[c] and row[f"{c}_low"] != row[f"{c}_low"] for c in known)
    assert (other["n_examples"], found.counts[known[0]]["gradient"].n) == (3 * (len(known) > 1), 0)
    write_report(found, tmp_path / "page.html")


def test_unreadable_strange_and_misclassified_images_are_counted(net):
    items = Files(data(8))
    items[2] = (torch.full((3, 20, 16), math.nan), 0)
    items[3] = (items[3][0], 77)
    found = run(net, items, only_correct=True)
    assert found.reasons["damaged file"] == 1
    assert found.reasons["its image has nan or inf"] == 1
    assert found.reasons["its class 77 is not one of the model's 5"] == 1
    n_wrong = found.reasons["not classified correctly"]
    assert len(found.kept) == 5 - n_wrong
    assert all(one.target == one.prediction for one in found.kept)


def test_images_of_several_sizes_are_taken(net):
    generator = torch.Generator().manual_seed(0)
    items = [(torch.rand(3, 16 + k, 20, generator=generator), 0) for k in range(3)]
    assert len(run(net, items, batch_size=3).kept) == 3


def test_without_a_target_the_prediction_is_explained(net):
    found = run(net, [(image, None) for image, _ in data()])
    assert [one.target for one in found.kept] == [one.prediction for one in found.kept]


def test_a_map_of_nan_is_counted_with_its_reason(net):
    class Nothing(Saliency):
        def attribute(self, inputs, target=None):
            return inputs * math.nan

    found = run(net, how={"nothing": Nothing(net)})
    assert found.excluded[0]["reason"] == "attributions not finite"
    assert math.isnan(found.records[0]["insertion"])


def test_significance_is_wilcoxons_with_holms_correction(net):
    from scipy.stats import wilcoxon

    found = run(net, data(12))
    gap = found.values["deletion"]["ig"] - found.values["deletion"]["gradient"]
    difference = found.significance("gradient")["deletion"]["ig"]
    assert math.isclose(difference.p_value, wilcoxon(gap).pvalue)
    assert math.isclose(difference.mean, float(gap.mean()))
    assert difference.low <= difference.mean <= difference.high


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"methods": {}}, ValueError, "`methods` needs at least one"),
        ({"methods": {"x": 3}}, TypeError, "'x' is int"),
        ({"methods": {"x": Occlusion(len)}}, ValueError, r"'x' needs \['sliding_window_shapes'\]"),
        ({"metrics": {"x": 3}}, TypeError, "'x' is int"),
        ({"batch_size": 0}, ValueError, "`batch_size`.*got 0"),
        ({"data": []}, ValueError, "`data` holds no example"),
        ({"data": [torch.zeros(3, 4, 4)]}, TypeError, "`data` yields"),
        ({"data": [(torch.zeros(2, 3, 4, 4), torch.zeros(2))]}, TypeError, "item 0 is a batch"),
        ({"names": ["a"]}, ValueError, "`names` needs one name per example, 5"),
        ({"forward_func": 3}, TypeError, "`forward_func` is a model or a function"),
    ],
)
def test_wrong_arguments_are_named(change, kind, words, net):
    given = {"forward_func": net, "data": data(), "methods": methods(net),
             "metrics": metrics(net), "batch_size": 2, "seed": 0, **change}  # fmt: skip
    with pytest.raises(kind, match=words):
        evaluate(**given)


def test_a_model_in_training_mode_is_refused(net):
    with pytest.raises(ValueError, match="training mode"):
        run(net.train())


def test_files_hold_what_the_object_says(net, tmp_path):
    import csv
    import json

    found = run(net, data(6))
    found.to_json(tmp_path / "r.json")
    found.to_csv(tmp_path / "r.csv")
    found.to_csv(tmp_path / "e.csv", per_example=True)
    assert json.loads((tmp_path / "r.json").read_text())["table"] == found.records
    rows, examples = (
        list(csv.DictReader((tmp_path / name).read_text().splitlines()))
        for name in ("r.csv", "e.csv")
    )
    assert [float(row["insertion"]) for row in rows] == [r["insertion"] for r in found.records]
    assert len(examples) == 12


def flat_classifier(n, **options):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 20 * 16, n))
    return ImageClassifier(net, [0.5] * 3, [0.5] * 3, **options).eval()


def test_a_normalized_data_set_is_refused():
    classifier = flat_classifier(5)
    with pytest.raises(ValueError, match=r"images must be in \[0, 1\].*without normalization"):
        run(classifier, [(2 * x - 1, t) for x, t in data()])
    with pytest.raises(ValueError, match=r"from [\d.]+ to \d+: divide them by 255\.$"):
        run(classifier, [(255 * x, t) for x, t in data()])


def test_one_image_outside_the_unit_range_is_left_out():
    items = data()
    items[2] = (items[2][0] * 3 - 1, items[2][1])
    found = run(flat_classifier(5), items)
    assert found.reasons == {"its image leaves [0, 1]": 1}


def test_a_label_of_several_is_right_where_it_is_probable():
    classifier = flat_classifier(5, activation="sigmoid")
    items = data(8)
    probable = [bool(classifier(x[None])[0, t] >= 0.5) for x, t in items]
    top = [int(classifier(x[None]).argmax()) == t for x, t in items]
    assert 0 < sum(probable) < 8
    assert sum(top) != sum(probable)
    found = run(classifier, items, only_correct=True)
    assert [one.reason is None for one in found.seen] == probable


def test_two_classes_in_one_logit_are_targets_once_they_have_names():
    items = [(x, k % 2) for k, (x, _) in enumerate(data(6))]
    classifier = flat_classifier(1, activation="sigmoid", class_names=["no", "yes"])
    found = run(classifier, items)
    assert len(found.kept) == 6
    nameless = flat_classifier(1, activation="sigmoid")
    assert [*run(nameless, items).reasons] == [
        "its class is 1, but the model has one output: give two `class_names`"
    ]
    with pytest.raises(ValueError, match="`only_correct` needs two classes or more"):
        run(nameless, items, only_correct=True)


def test_a_class_of_any_size_is_a_reason_of_its_example_at_every_resume(net, tmp_path):
    held = data()
    for position, target in ((1, 10**30), (3, -(10**30)), (4, -1)):
        held[position] = (held[position][0], target)
    for _ in range(2):
        found = evaluate(
            net, held, methods(net), metrics(net), batch_size=2, seed=0, out=tmp_path / "run"
        )
        assert [one.position for one in found.kept] == [0, 2]
        assert found.reasons[f"its class {10**30} is not one of the model's 5"] == 1


def test_a_model_that_writes_over_its_input_leaves_the_data_alone(net):
    images = [(torch.rand(3, 20, 16), 1) for _ in range(2)]
    before = [image.clone() for image, _ in images]
    evaluate(
        lambda x: net(x.mul_(0.5)), images, {"guided": GuidedIG(net)}, {}, batch_size=2, seed=0
    )
    assert all(torch.equal(image, old) for (image, _), old in zip(images, before, strict=True))


def test_a_model_whose_output_is_no_tensor_is_told_how_to_give_one(net):
    with pytest.raises(TypeError, match=r"`forward_func` must return.*\[\"out\"\]"):
        evaluate(
            lambda x: {"out": net(x)}, [(torch.rand(3, 20, 16), 1)], {"g": GuidedIG(net)}, {},
            batch_size=1, seed=0,
        )  # fmt: skip
