"""What is no model, no method or no layer is refused where it is given, not where it is asked."""

import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import nn

from captum_ext.attr import (
    IDGI,
    IGOS,
    RISE,
    AtLayer,
    BlurIG,
    Configured,
    GuidedIG,
    OverBaselines,
    PathAttribution,
)
from captum_ext.metrics import AIC, ROAD, Insertion, ParameterRandomization, SensitivityN, insertion
from captum_ext.path import StraightLine

MODEL = nn.Sequential(nn.Flatten(), nn.Linear(48, 2), nn.Softmax(1))
IMAGES = torch.rand(1, 3, 4, 4)
TAKERS = {
    "guided": GuidedIG,
    "blur": BlurIG,
    "idgi": lambda f: IDGI(IntegratedGradients(f)),
    "igos": IGOS,
    "rise": RISE,
    "insertion": Insertion,
    "aic": AIC,
    "road": ROAD,
    "sensitivity": SensitivityN,
    "function": lambda f: insertion(f, IMAGES, IMAGES, target=0),
}
NO_MODELS = {
    "None": (None, "None"),
    "text": ("resnet50", "str"),
    "layers": ([MODEL], "list"),
    "weights": (MODEL.state_dict(), "OrderedDict"),
    "class": (nn.ReLU, r"the class ReLU: make one, as ReLU\(\.\.\.\)"),
    "exported": (torch.export.export(MODEL, (IMAGES,)), r"give its `.module\(\)`"),
}


@pytest.mark.parametrize("taker", TAKERS.values(), ids=TAKERS)
@pytest.mark.parametrize(("given", "got"), NO_MODELS.values(), ids=NO_MODELS)
def test_what_is_no_model_is_refused_when_a_method_or_metric_is_made(taker, given, got):
    with pytest.raises(TypeError, match=f"`forward_func` is a model or a function .* got .*{got}"):
        taker(given)


@pytest.mark.parametrize("around", [Configured, OverBaselines])
@pytest.mark.parametrize(
    ("given", "got"),
    [
        (None, "NoneType: give one"),
        ("ig", "str: give one"),
        (MODEL, "Sequential: give one"),
        (Saliency, r"the class Saliency: make one, as Saliency\(model\)"),
    ],
)
def test_what_is_no_method_is_refused_by_what_goes_around_methods(around, given, got):
    with pytest.raises(TypeError, match=f"`method` is an attribution method .* got {got}"):
        around(given)


@pytest.mark.parametrize("layer", [None, "1", 1, [], [MODEL[1], "2"]])
def test_what_is_no_layer_is_refused_by_name(layer):
    with pytest.raises(TypeError, match="`layer` is a module within the model"):
        AtLayer(GuidedIG(MODEL), layer)


@pytest.mark.parametrize("rule", [None, "riemann", 2.5])
def test_what_is_no_rule_is_refused_by_name(rule):
    with pytest.raises(TypeError, match=f"`rule` is a function of two knots.*got {rule!r}"):
        PathAttribution(MODEL, StraightLine(), rule)


@pytest.mark.parametrize("make", [None, "ig", Saliency(MODEL)])
def test_what_makes_no_method_is_refused_by_name(make):
    with pytest.raises(TypeError, match="`make_method` makes an attribution method"):
        ParameterRandomization(make)


def test_whether_baselines_are_shared_is_yes_no_or_unsaid():
    with pytest.raises(TypeError, match="`shared` is True, False or None, but got 'yes'"):
        OverBaselines(GuidedIG(MODEL), shared="yes")
