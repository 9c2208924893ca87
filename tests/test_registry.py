"""Names of methods, metrics, presets and similarities: each once, and a user's beside them."""

import subprocess
import sys

import pytest
import torch
from captum.attr import InputXGradient, Saliency

from captum_ext import registry
from captum_ext.attr import register
from captum_ext.evaluation import register_metric, register_preset
from captum_ext.evaluation.catalog import Reading, make_metrics
from captum_ext.metrics import Insertion, ParameterRandomization, register_similarity
from captum_ext.registry import METHODS, METRICS, PRESETS, REFERENCES, SIMILARITIES

TABLES = [METHODS, METRICS, REFERENCES, SIMILARITIES, *PRESETS.values()]


@pytest.mark.parametrize("table", TABLES, ids=[table.kind for table in TABLES])
def test_every_name_stands_for_something_that_is_there(table):
    for thing in table.values():
        if isinstance(thing, registry.Method):
            assert callable(thing.make.found())
        else:
            assert not isinstance(thing, registry.Late)


def test_names_are_known_before_torch_is_loaded():
    code = "import sys, captum_ext.registry as r; print(len(r.METHODS), 'torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(len(METHODS)), "False"]


def test_a_name_that_is_taken_is_refused_unless_it_is_meant():
    register("mine", Saliency)
    register("mine", Saliency)
    with pytest.raises(ValueError, match="`name` 'mine' is taken among the methods"):
        register("mine", InputXGradient)
    with pytest.raises(ValueError, match="'ig' is taken"):
        register("ig", InputXGradient)
    register("mine", InputXGradient, "My own", overwrite=True)
    assert METHODS["mine"].label == "My own"
    with pytest.raises(ValueError, match="'insertion' is taken among the metrics"):
        register_metric("insertion", lambda model, how: None)
    with pytest.raises(ValueError, match="'igos' is taken among the presets of deletion"):
        register_preset("deletion", "igos", {})
    with pytest.raises(ValueError, match="'ssim' is taken among the similarities"):
        register_similarity("ssim", torch.sign, torch.dist)


@pytest.mark.parametrize("name", ["", "a,b", " a", "all"])
def test_a_name_can_be_typed_in_a_list(name):
    with pytest.raises(ValueError, match="`name` is a word without commas"):
        register(name, Saliency)


def test_what_can_not_make_anything_is_refused():
    with pytest.raises(TypeError, match="`make` makes the method from a model, but got int"):
        register("mine", 3)
    with pytest.raises(TypeError, match="`make` makes the metric"):
        register_metric("mine", 3)
    with pytest.raises(ValueError, match=r"`metric` is one of insertion, .*'gone'"):
        register_preset("gone", "mine", {})
    register_metric("mine", lambda model, how: 3)
    with pytest.raises(TypeError, match="'mine' makes a int, not a metric"):
        make_metrics(["mine"], len, Reading())


def test_two_metrics_of_one_column_are_refused():
    register_metric("mine", lambda model, how: {"insertion": Insertion(model)})
    with pytest.raises(ValueError, match="two metrics have the column 'insertion'"):
        make_metrics(["insertion", "mine"], len, Reading())


def test_what_is_registered_for_a_while_is_gone_afterwards():
    with registry.kept():
        register("mine", Saliency)
        register_metric("mine", lambda model, how: Insertion(model))
        register_preset("mine", "fast", {})
        register_preset("insertion", "fast", {})
        assert "fast" in registry.presets()
    assert "mine" not in METHODS
    assert "mine" not in METRICS
    assert "mine" not in PRESETS
    assert "fast" not in registry.presets()


def test_settings_are_for_the_metrics_that_know_them():
    register_preset("insertion", "fast", {"n_steps": 3, "reference": 0.0})
    made = make_metrics(["insertion", "deletion"], len, Reading(preset="fast"))
    assert made["insertion_abs"].protocol["n_steps"] == 3
    assert made["deletion"].protocol["n_steps"] == 20
    assert Insertion.from_preset(len, "fast").protocol["n_steps"] == 3


def test_a_similarity_of_a_users_own_is_measured():
    def same_sign(a, b):
        return (a == b).flatten(1).double().mean(1)

    register_similarity("signs", torch.sign, same_sign)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    check = ParameterRandomization(
        lambda model: InputXGradient(model), similarity=("signs", "spearman")
    )
    check.update(net, torch.rand(2, 3, 2, 2), target=0)
    assert set(check.compute()) == {"signs", "spearman"}
    assert ((check.per_example["signs"] >= 0) & (check.per_example["signs"] <= 1)).all()


def test_methods_are_imported_with_captum_and_torch_alone():
    code = (
        "import sys, captum.attr; before = {*sys.modules}; from captum_ext.attr import *; "
        "print(*{name.split('.')[0] for name in {*sys.modules} - before}); "
        "from captum_ext import *; print(ImageClassifier.__name__, IDGI.__name__, "
        "'torchvision' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, said = ran.stdout.splitlines()
    slow = {"torchvision", "torchmetrics", "scipy", "matplotlib", "PIL", "skimage", "sympy"}
    assert slow & {*loaded.split()} == set()
    assert said == "ImageClassifier IDGI False"
