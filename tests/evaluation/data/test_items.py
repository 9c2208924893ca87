"""Items of every shape: images, tuples of tensors, tables, tokens; resumed with equal numbers."""

import numpy as np
import pytest
import torch
from captum.attr import (
    FeatureAblation,
    IntegratedGradients,
    LayerIntegratedGradients,
    Saliency,
)
from torch import nn
from torch.utils.data import DataLoader

from captum_ext import ImageClassifier
from captum_ext.attr import BlurIG, Configured, GradCam, GuidedIG
from captum_ext.evaluation import evaluate
from captum_ext.evaluation.store.folder import OtherRunError
from captum_ext.metrics import Deletion, Insertion
from tests.evaluation.conftest import without_time


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 4, 3, stride=2), nn.Linear(4, 3)

    def forward(self, x, scale=None):
        features = nn.functional.softplus(self.conv(x)).mean((2, 3))
        scale = 1.0 if scale is None else scale[:, None]
        return (self.head(features) * scale).softmax(1)


class Pair(nn.Module):
    """Takes two tensors of different shapes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(5, 3), nn.Linear(8, 3)

    def forward(self, a, b):
        return (self.a(a) + self.b(b.flatten(1)).tanh()).softmax(1)


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Softplus(), nn.Linear(8, 3), nn.Softmax(1))

    def forward(self, x):
        return self.net(x)


class Text(nn.Module):
    """Embeddings and an attention mask; ``ids`` explains through the embedding layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(20, 4), nn.Linear(4, 3)

    def forward(self, embedded, attention):
        weights = attention[..., None].to(embedded.dtype)
        pooled = (embedded.tanh() * weights).sum(1) / weights.sum(1)
        return (3 * self.head(pooled)).softmax(1)


class Ids(Text):
    def forward(self, ids, attention):
        return super().forward(self.embedding(ids), attention)


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def images(k):
    mask = drawn(12, 10, seed=k) > 0.7
    return {"inputs": drawn(3, 12, 10, seed=k), "target": k % 3, "mask": mask,
            "additional_forward_args": torch.tensor(1.0 + k)}  # fmt: skip


def pairs(k):
    return {"inputs": (drawn(5, seed=k), drawn(2, 4, seed=k + 50)), "target": k % 3,
            "baselines": (0.0, torch.full((2, 4), 0.5))}  # fmt: skip


def tables(k):
    # Two kinds of groups, so that examples of one batch differ in theirs.
    groups = torch.tensor([0, 0, 1, 1, 2, 2] if k % 2 else [0, 1, 1, 2, 2, 2])
    return {"inputs": drawn(6, seed=k).numpy(), "target": torch.eye(3)[k % 3],
            "feature_mask": groups, "baselines": 0.25}  # fmt: skip


def tokens(k):
    length = 4 + k % 2
    return {"inputs": drawn(length, 4, seed=k), "target": None,
            "additional_forward_args": (torch.arange(length) < 3 + k % 2,)}  # fmt: skip


def ids(k):
    chosen = torch.randint(1, 20, (5,), generator=torch.Generator().manual_seed(k))
    return {"inputs": chosen, "target": k % 3, "baselines": 0,
            "additional_forward_args": (torch.ones(5, dtype=torch.long),)}  # fmt: skip


CELLS = {
    "images": (Images, images),
    "pairs": (Pair, pairs),
    "tables": (Table, tables),
    "tokens": (Text, tokens),
    "ids": (Ids, ids),
}
FITS = {
    "images": {"saliency", "ig", "guided-ig", "blur-ig", "grad-cam"},
    "pairs": {"saliency", "ig", "guided-ig"},
    "tables": {"saliency", "ig", "guided-ig", "ablation"},
    "tokens": {"saliency", "ig", "guided-ig"},
    "ids": {"layer-ig"},
}


def methods(model):
    made = {
        "saliency": Saliency(model),
        "ig": Configured(IntegratedGradients(model), n_steps=4),
        "guided-ig": Configured(GuidedIG(model), n_steps=4),
        "blur-ig": Configured(BlurIG(model, 2.0), n_steps=4),
        "grad-cam": GradCam(model),
    }
    if isinstance(model, Table):
        made["ablation"] = FeatureAblation(model)
    if isinstance(model, Ids):
        made["layer-ig"] = Configured(
            LayerIntegratedGradients(model, model.embedding), n_steps=4, baselines=torch.zeros_like
        )
    return made


def metrics(model):
    return {"insertion": Insertion(model, n_steps=3), "deletion": Deletion(model, n_steps=3)}


def run(cell, n=5, **options):
    make, item = CELLS[cell]
    model = make().eval()
    data = options.pop("data", [item(k) for k in range(n)])
    given = {"batch_size": 2, "seed": 0, **options}
    return evaluate(model, data, options.pop("methods", methods(model)), metrics(model), **given)


@pytest.mark.parametrize("cell", CELLS)
def test_every_item_by_every_method_and_metric(cell):
    found = run(cell)
    assert len(found.kept) == 5
    rows = {row["method"]: row for row in found.records}
    assert {name for name, row in rows.items() if row["n_examples"] == 5} == FITS[cell]
    for name, row in rows.items():
        if name in FITS[cell]:
            assert 0 <= row["insertion"] <= 1
            assert row["reason"] is None
            assert row["insertion_n"] == row["deletion_n"] == 5
        else:
            # A row with its reason; the rest goes on.
            assert row["n_examples"] == 0
            assert row["reason"]
            assert row["insertion"] != row["insertion"]


@pytest.mark.parametrize("cell", CELLS)
def test_numbers_are_those_of_each_example_by_itself(cell):
    make, item = CELLS[cell]
    model = make().eval()
    found = run(cell)
    for k in range(5):
        one = item(k)
        inputs = one["inputs"]
        tensors = inputs if isinstance(inputs, tuple) else (torch.as_tensor(inputs),)
        more = {}
        if "additional_forward_args" in one:
            args = one["additional_forward_args"]
            args = args if isinstance(args, tuple) else (args,)
            more["additional_forward_args"] = tuple(a[None] for a in args)
        batch = tuple(x[None] for x in tensors)
        answer = model(*batch, *more.get("additional_forward_args", ())).detach()
        target = one["target"]
        if isinstance(target, torch.Tensor):
            target = int(target.argmax())
        target = int(answer[0].argmax()) if target is None else target
        assert found.kept[k].target == target
        assert found.kept[k].probability == pytest.approx(float(answer[0, target]), abs=1e-6)
        name = "layer-ig" if cell == "ids" else "ig"
        if "baselines" in one:
            base = one["baselines"]
            more["baselines"] = tuple(
                b[None] if isinstance(b, torch.Tensor) else b
                for b in (base if isinstance(base, tuple) else (base,))
            )
        if cell == "ids":
            method = LayerIntegratedGradients(model, model.embedding)
            maps = method.attribute(
                batch[0], torch.zeros_like(batch[0]), target, more["additional_forward_args"], 4
            ).sum(2)
            maps = (maps,)
        else:
            maps = IntegratedGradients(model).attribute(batch, target=target, n_steps=4, **more)
        if "feature_mask" in one:
            more["feature_mask"] = one["feature_mask"][None]
        metric = Insertion(model, n_steps=3)
        metric.update(batch, tuple(maps), target=target, **more)
        assert float(found.values["insertion"][name][k]) == pytest.approx(
            float(metric.per_example[0]), abs=1e-5
        )


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("cell", CELLS)
def test_a_run_that_was_stopped_ends_with_the_same_numbers(cell, tmp_path):
    def stop(what, done, of):
        if done == 4:
            raise StoppedError

    whole = run(cell)
    with pytest.raises(StoppedError):
        run(cell, out=tmp_path, progress=stop)
    resumed = run(cell, out=tmp_path)
    assert without_time(whole.records) == without_time(resumed.records)
    one = CELLS[cell][1](3)
    for key in [*one.keys() - {"inputs", "target"}, "inputs"]:
        other = [CELLS[cell][1](k) for k in range(5)]
        other[3][key] = changed(one[key])
        with pytest.raises(OtherRunError, match=f"the {key} of example 3 has changed"):
            run(cell, data=other, out=tmp_path)


def changed(value):
    if isinstance(value, tuple):
        return (changed(value[0]), *value[1:])
    if isinstance(value, torch.Tensor) and value.dtype == torch.bool:
        return ~value
    return value + 1


def test_columns_name_the_keys_of_other_dicts():
    plain = [(images(k)["inputs"], k % 3) for k in range(5)]
    expected = without_time(run("images", data=plain).records)
    named = [{"pixel_values": x.tolist(), "labels": k, "id": "x"} for x, k in plain]
    arrays = [{"pixel_values": np.asarray(x), "labels": np.int64(k)} for x, k in plain]
    batches = DataLoader([{"pixel_values": x, "labels": k} for x, k in plain], batch_size=3)
    for data in (named, arrays, batches):
        found = run("images", data=data, columns=("pixel_values", "labels"))
        assert without_time(found.records) == expected
    wide = [{"ids": x, "keep": torch.tensor(1.0)} for x, _ in plain]
    columns = {"inputs": "ids", "additional_forward_args": ["keep"]}
    assert len(run("images", data=wide, columns=columns).kept) == 5


def test_batches_of_dicts_are_taken_apart():
    for cell in ("pairs", "ids"):
        items = [CELLS[cell][1](k) for k in range(5)]
        if cell == "pairs":
            items = [{**item, "baselines": item["inputs"]} for item in items]
        found = run(cell, data=DataLoader(items, batch_size=2))
        assert without_time(found.records) == without_time(run(cell, data=items).records)


def test_methods_and_metrics_by_name_are_those_of_the_command():
    model = Images().eval()
    data = [(images(k)["inputs"], k % 3, images(k)["mask"]) for k in range(3)]
    how = {"batch_size": 2, "seed": 0}
    names = ["saliency", "idgi-ig", "grad-cam"]
    found = evaluate(model, data, names, ["insertion", "localization"], **how)
    assert [row["method"] for row in found.records] == names
    assert {"insertion", "insertion_abs", "roc_auc"} <= {*found.columns}
    assert all(row["insertion_n"] == 3 for row in found.records)
    mixed = evaluate(model, data, {"mine": "saliency"}, metrics(model), **how)
    assert mixed.methods == ("mine",)
    for wrong in (["nonsense"], "saliency"):
        with pytest.raises((ValueError, TypeError), match="`methods` are"):
            evaluate(model, data, wrong, ["insertion"], **how)
    with pytest.raises(ValueError, match="`metrics` are among"):
        evaluate(model, data, names, ["nonsense"], **how)


def test_named_metrics_replace_features_of_a_table_by_0_and_a_method_that_has_no_layer_is_a_row():
    model = Table().eval()
    data = [{"inputs": tables(k)["inputs"], "target": k % 3} for k in range(3)]
    found = evaluate(
        model, data, ["ig", "grad-cam", "blur-ig"], ["insertion"], batch_size=2, seed=0
    )
    rows = {row["method"]: row for row in found.records}
    assert rows["ig"]["insertion_n"] == 3
    assert rows["ig"]["reason"] is None
    assert rows["grad-cam"]["reason"]
    assert rows["blur-ig"]["reason"]
    start = Insertion(model, n_steps=20).protocol["reference"]
    assert found.settings["metrics"]["insertion"]["reference"] == start


def plain_function(x):
    return torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1)


def test_functions_and_exported_models_are_explained():
    data = [(images(k)["inputs"], k % 2) for k in range(3)]
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.Softmax(1)).eval()  # fmt: skip
    x = torch.rand(2, 3, 12, 10)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(net, (x,), dynamic_shapes=({0: batch},)).module()
    scripted = torch.jit.trace(net, x)
    rows = {}
    for name, model in {"net": net, "exported": exported, "scripted": scripted}.items():
        found = evaluate(model, data, ["saliency", "ig"], ["insertion"], batch_size=2, seed=0)
        rows[name] = [(row["insertion"], row["gradients"]) for row in found.records]
        assert found.excluded == []
    for name in ("exported", "scripted"):
        assert np.allclose(rows["net"], rows[name], atol=1e-5)
    found = evaluate(
        plain_function, data, ["saliency", "grad-cam"], ["insertion"], batch_size=2, seed=0
    )
    assert [bool(row["reason"]) for row in found.records] == [False, True]


@pytest.mark.parametrize("shape", [(), (1,), (2,)])
def test_a_regression_is_read_as_scores(shape):
    def ages(x):
        flat = 40 + 20 * x.mean((1, 2, 3))
        return flat if not shape else torch.stack([flat, -flat], 1)[:, : shape[0]]

    data = [(images(k)["inputs"], 1 if shape == (2,) else 31.5 + k) for k in range(3)]
    found = evaluate(ages, data, ["saliency", "ig"], ["insertion", "deletion"], batch_size=2,
                     seed=0, reading="score")  # fmt: skip
    expected = [float(ages(x[None]).flatten()[-1]) for x, _ in data]
    assert [row["score"] for row in found.per_example if row["method"] == "ig"] == pytest.approx(
        expected
    )
    assert all(row["insertion_n"] == 3 for row in found.records)
    if shape == (2,):
        lost = evaluate(ages, [(x, 31.5) for x, _ in data], ["saliency"], ["insertion"],
                        batch_size=2, seed=0, reading="score")  # fmt: skip
        assert lost.reasons == {"the output to explain is 31.5, and the model has 2": 3}
    with pytest.raises(ValueError, match="neither right nor wrong"):
        evaluate(ages, data, ["saliency"], ["insertion"], batch_size=2, seed=0, reading="score",
                 only_correct=True)  # fmt: skip


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"image": torch.ones(3, 4, 4)}, "say with `columns=`"),
        ({"inputs": "text"}, r"without a batch dimension, but got \(str\)"),
        ({"inputs": torch.ones(3), "baselines": object()}, "the baselines of item 0 is a object"),
        ({"inputs": torch.ones(3), "target": torch.tensor([1, 2, 0])}, "a vector of 0 and 1"),
        ({"inputs": torch.ones(3), "target": "dog"}, "the number of a class"),
    ],
)
def test_items_that_are_none_are_named(item, words):
    with pytest.raises(TypeError, match=words):
        run("tables", data=[item])


def test_columns_that_can_not_be_meant_are_named():
    for columns, words in (
        ("image", "are two or three keys"),
        (("a", "b", "c", "d"), "are \\(inputs, target\\)"),
        ({"image": "x"}, "say where"),
        (("gone", "target"), "name 'gone'"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            run("tables", columns=columns)


def test_integers_and_images_outside_the_unit_are_reasons():
    classifier = ImageClassifier(
        nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval(), [0] * 3, [1] * 3
    )
    data = [{"inputs": torch.full((3, 2, 2), k - 0.5), "target": 0} for k in (1, 2, 1)]
    found = evaluate(classifier, data, ["saliency"], ["insertion"], batch_size=1, seed=0)
    assert found.reasons == {"an input leaves [0, 1]": 1}
