"""A run is the same if all that decides a number is equal by content; else it is refused."""

import functools
import json
import random
import sys
from collections import deque
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from captum.attr import GradientShap, LayerGradCam, Saliency
from torch import nn

from captum_ext import ImageClassifier
from captum_ext.attr import BlurIG, Configured
from captum_ext.evaluation import evaluate
from captum_ext.evaluation.settings import about
from captum_ext.evaluation.store import identity
from captum_ext.evaluation.store.folder import OtherRunError
from captum_ext.evaluation.store.identity import Identity
from captum_ext.metrics import Insertion, Localization
from tests import processes


class Net(nn.Module):
    """A model with a layer, a buffer, and a number of its own."""

    def __init__(self, stride=2, scale=1.5, act=None):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 3, stride=stride), nn.Linear(6, 4)
        self.act = act or nn.ReLU()
        self.scale, self.squash = scale, lambda x: x * 2
        self.register_buffer("shift", torch.tensor(0.25), persistent=False)

    def forward(self, x):
        maps = self.act(self.conv(x) + self.shift) * self.scale
        return self.head(self.squash(maps.mean((2, 3))))


class Other(Net):
    """Another body under the same attributes."""

    def forward(self, x):
        return super().forward(x + 0.01)


def parts(model=Net, mean=0.5, **options):
    """All of a run, made anew from the same seeds."""
    torch.manual_seed(0)
    net = ImageClassifier(model(**options).eval(), [mean] * 3, [0.5] * 3)
    base = torch.zeros(1, 3, 12, 12)
    factor = 1.0
    methods = {
        "gradient": Saliency(net),
        "shap": Configured(GradientShap(net), baselines=base, n_samples=2),
        "blur": Configured(BlurIG(net, 3.0), n_steps=2),
        "cam": LayerGradCam(net, net.model.conv),
        "own": Configured(Saliency(net), abs=lambda x: factor > 0),
    }
    metrics = {"insertion": Insertion(net, n_steps=3, reference=lambda x: x * 0.5),
               "localization": Localization()}  # fmt: skip
    draw = torch.Generator().manual_seed(1)
    mask = torch.zeros(12, 12)
    mask[2:6, 2:6] = 1
    data = [[torch.rand(3, 12, 12, generator=draw), k, mask.clone()] for k in range(3)]
    return {"forward_func": net, "data": data, "methods": methods, "metrics": metrics,
            "batch_size": 2, "seed": 0}  # fmt: skip


def changed(change):
    run = parts()
    change(run)
    return run


def of_model(change):
    return lambda run: change(run["forward_func"].model)


def replaced(key, name, make):
    return lambda run: run[key].__setitem__(name, make(run["forward_func"]))


def first_item(index, value):
    return lambda run: run["data"][0].__setitem__(index, value)


def one_more(tensor):
    with torch.no_grad():
        tensor.view(-1)[0] += 1e-3


CHANGES = {
    "another parameter": (of_model(lambda m: one_more(m.head.weight)), "head.parameters.weight"),
    "another buffer": (of_model(lambda m: one_more(m.shift)), "buffers.shift"),
    "a mean that is in no state dict": (lambda r: one_more(r["forward_func"].mean), "mean"),
    "a stride": (of_model(lambda m: setattr(m.conv, "stride", (1, 1))), "model.conv"),
    "padding": (of_model(lambda m: setattr(m.conv, "padding", (1, 1))), "model.conv"),
    "another activation": (of_model(lambda m: setattr(m, "act", nn.Tanh())), "model.act"),
    "a number of the model's": (of_model(lambda m: setattr(m, "scale", 2.0)), "scale"),
    "a lambda of the model's": (of_model(lambda m: setattr(m, "squash", lambda x: x * 3)),
                                "squash"),
    "another forward": (of_model(lambda m: setattr(m, "__class__", Other)), "model.model.type"),
    "a hook": (of_model(lambda m: m.conv.register_forward_hook(lambda m, x, y: y + 1)), "hooks"),
    "one module in training": (of_model(lambda m: m.act.train()), "model.act"),
    "another transform": (lambda r: setattr(r["forward_func"], "transform", len), "transform"),
    "half precision": (lambda r: r["forward_func"].double(), "model"),
    "a setting of a method": (replaced("methods", "blur", lambda f: Configured(
        BlurIG(f, 4.0), n_steps=2)), "methods.blur"),
    "an argument of a method": (replaced("methods", "blur", lambda f: Configured(
        BlurIG(f, 3.0), n_steps=3)), "methods.blur.options.n_steps"),
    "a baseline": (replaced("methods", "shap", lambda f: Configured(
        GradientShap(f), baselines=torch.full((1, 3, 12, 12), 0.1), n_samples=2)),
        "methods.shap.options.baselines"),
    "a layer": (replaced("methods", "cam", lambda f: LayerGradCam(f, f.model.act)),
                "methods.cam.layer"),
    "a lambda of a method": (replaced("methods", "own", lambda f: Configured(
        Saliency(f), abs=lambda x: 2.0 > 0)), "methods.own"),
    "a setting of a metric": (replaced("metrics", "insertion", lambda f: Insertion(
        f, n_steps=4, reference=lambda x: x * 0.5)), "metrics.insertion"),
    "a function of a metric": (replaced("metrics", "insertion", lambda f: Insertion(
        f, n_steps=3, reference=lambda x: x * 0.25)), "metrics.insertion"),
    "a tolerance": (replaced("metrics", "localization", lambda f: Localization(tolerance=3)),
                    "metrics.localization"),
    "a pixel": (lambda r: one_more(r["data"][0][0]), "image of example 0"),
    "a label": (first_item(1, 3), "target of example 0"),
    "a mask": (lambda r: one_more(r["data"][0][2]), "mask of example 0"),
    "an image more": (lambda r: r["data"].append(r["data"][0]), "n_examples"),
    "a seed": (lambda r: r.update(seed=1), "seed"),
    "a setting of the caller's": (lambda r: r.update(settings={"x": torch.ones(2)}), "`x`"),
}  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("run")
    evaluate(**parts(), out=folder)
    return folder


def refusal(run, folder):
    with pytest.raises(OtherRunError) as caught:
        evaluate(**run, out=folder)
    return str(caught.value)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_anything_is_refused_and_named(name, done):
    change, words = CHANGES[name]
    said = refusal(changed(change), done)
    assert words in said
    assert "--restart" in said


@pytest.mark.parametrize("neutral", [
    {},
    {"internal_batch_size": 1},
    {"names": ["a", "b", "c"]},
    {"progress": lambda *state: None},
])  # fmt: skip
def test_new_objects_of_the_same_content_are_the_same_run(neutral, done, monkeypatch):
    monkeypatch.setattr(nn.Conv2d, "forward", None)
    assert len(evaluate(**parts(), **neutral, out=done).kept) == 3


def test_another_precision_is_refused(done):
    with torch.autocast("cpu", torch.bfloat16):
        assert "`precision.autocast cpu` is" in refusal(parts(), done)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert "`precision." in refusal(parts(), done)
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("package", ["captum", "torch", "torchvision", "numpy", "PIL"])
def test_another_version_is_refused(package, done, monkeypatch):
    monkeypatch.setattr(sys.modules[package], "__version__", "0.0.1")
    assert "`versions." in refusal(parts(), done)


UNKNOWN = {
    "iter": lambda: iter([1]),
    "generator": lambda: (k for k in ()),
    "random": lambda: random.Random(0),
    "numpy": lambda: np.random.default_rng(0),
    "torch": torch.Generator,
    "file": lambda: sys.__stdout__,
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_has_no_content_runs_but_is_never_taken_for_equal(kind, tmp_path):
    def run():
        made = parts()
        made["forward_func"].model.extra = UNKNOWN[kind]()
        return made

    assert len(evaluate(**run(), out=tmp_path).kept) == 3
    said = refusal(run(), tmp_path)
    assert "can't be proved to be the same: `model.model.extra` is a" in said
    assert len(evaluate(**run(), out=tmp_path, resume=False).kept) == 3


def scaled(factor):
    def inner(x):
        return np.multiply(x, factor) + SHIFT

    return inner


SHIFT = 1
ALIKE = [
    lambda: scaled(2), lambda: functools.partial(scaled, 3), lambda: {"a": (1, [torch.ones(2)])},
    lambda: {3, 1, 2}, lambda: np.arange(4), lambda: float("nan"), lambda: nn.ReLU(),
    lambda: Net, lambda: random.random, lambda: torch.relu, lambda: "x" * 500, lambda: b"1",
    lambda: Path("a"), lambda: torch.device("cpu"), lambda: Saliency(len), lambda: np.float32(2),
    lambda: torch.ones(2, dtype=torch.bfloat16), lambda: torch.eye(3).to_sparse(),
    lambda: MappingProxyType({"a": 1}), lambda: MappingProxyType({"a": 2}), lambda: WithSettings(),
    lambda: deque([1]), lambda: deque([2]), lambda: memoryview(b"2"), lambda: int | str,
    lambda: {0: "v"}.values(), lambda: torch.finfo(torch.float16), lambda: type(None),
]  # fmt: skip


class WithSettings(Localization):
    """A user's metric that holds read-only settings, as the package's presets are."""

    SETTINGS = MappingProxyType({"steps": 2})


def test_equal_content_is_equal_and_all_else_differs():
    identity = Identity()
    pairs = [(Identity().of(make()), identity.of(make(), f"{k}")) for k, make in enumerate(ALIKE)]
    assert all(what.startswith("a Random") for what in identity.unknown.values())
    assert all(one == other for one, other in pairs)
    assert len({repr(one) for one, _ in pairs}) == len(ALIKE)


def test_a_global_that_a_function_reads_is_part_of_it(monkeypatch):
    before = Identity().of(scaled(2))
    monkeypatch.setitem(globals(), "SHIFT", 2)
    assert Identity().of(scaled(2)) != before


def content_of(run):
    return about(**run, only_correct=False, more=None).content


def relu_of_mine(*x):
    return torch.tanh(x[-1])


@pytest.mark.parametrize(
    ("place", "name"),
    [(nn.ReLU, "forward"), (nn.Module, "__call__"), (Saliency, "attribute"),
     (nn.functional, "relu"), (torch.Tensor, "norm")],
)  # fmt: skip
def test_what_replaces_a_part_of_a_library_is_part_of_it(place, name, monkeypatch):
    before = content_of(parts())
    monkeypatch.setattr(place, name, relu_of_mine)
    assert content_of(parts()) != before
    monkeypatch.undo()
    assert content_of(parts()) == before


def test_what_this_package_needs_is_no_users_code_wherever_it_lies(monkeypatch):
    monkeypatch.setattr(identity, "_library_folders", lambda: ())
    identity._is_installed.cache_clear()
    found = [identity._is_library(one) for one in (nn.Linear, Saliency, BlurIG, pytest.Item)]
    identity._is_installed.cache_clear()
    assert found == [True, True, True, False]


def test_a_model_that_holds_itself_is_read_once():
    net = Net()
    net.me = [net]
    assert Identity().of(net) == Identity().of(net)


def say(to):
    run = parts()
    what = about(
        run["forward_func"], run["data"], run["methods"], run["metrics"], 2, 0, False, None
    )
    to.write_text(json.dumps([hash("word"), what.content]))


def test_another_process_says_the_same(tmp_path):
    processes.start(say, tmp_path / "there.json").join()
    say(tmp_path / "here.json")
    (a, there), (b, here) = (
        json.loads((tmp_path / f"{place}.json").read_text()) for place in ("there", "here")
    )
    assert there == here
    # Another order of sets changes nothing.
    assert a != b
