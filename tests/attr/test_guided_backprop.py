"""Guided backpropagation finds every rectifier, or refuses."""

import pytest
import torch
from captum.attr import GuidedBackprop as CaptumGuidedBackprop
from torch import nn
from torch.nn import functional

from captum_ext.attr import GradCam
from captum_ext.attr.guided_backprop import GuidedBackprop, GuidedGradCam

RECTIFIERS = {
    "module": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "function": functional.relu,
    "in place function": lambda x: functional.relu(x, inplace=True),
    "method": lambda x: x.relu(),
    "clamp": lambda x: x.clamp(min=0),
}


class Net(nn.Module):
    def __init__(self, rectify):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)
        self.rectify = rectify
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.rectify(self.second(self.rectify(self.first(x))))
        return self.head(x.mean((2, 3)))


IMAGES = torch.rand(2, 3, 10, 12, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("rectify", RECTIFIERS.values(), ids=RECTIFIERS)
def test_rectifiers_are_found_however_they_are_written(rectify):
    class Twice(Net):
        def __init__(self):
            super().__init__(nn.ReLU())
            self.other = nn.ReLU()

        def forward(self, x):
            x = self.other(self.second(self.rectify(self.first(x))))
            return self.head(x.mean((2, 3)))

    # Captum's takes modules that run once.
    guided = CaptumGuidedBackprop(Twice()).attribute(IMAGES.clone(), target=1)
    net = Net(rectify)
    torch.testing.assert_close(GuidedBackprop(net).attribute(IMAGES, target=1), guided)
    expected = guided * GradCam(net).attribute(IMAGES, target=1)
    assert expected.any()
    torch.testing.assert_close(GuidedGradCam(net).attribute(IMAGES, target=1), expected)


@pytest.mark.parametrize("rectify", [nn.ReLU6(), functional.relu6, nn.Hardtanh(0.0, 6.0)])
def test_relu6_is_a_rectifier(rectify):
    torch.testing.assert_close(
        GuidedGradCam(Net(rectify)).attribute(IMAGES, target=1),
        GuidedGradCam(Net(nn.ReLU())).attribute(IMAGES, target=1),
    )


@pytest.mark.parametrize(
    ("rectify", "words"),
    [
        (nn.GELU(), "has GELU"),
        (nn.SiLU(), "has SiLU"),
        (functional.gelu, "has GELU"),
        (functional.silu, "has SiLU"),
        (functional.hardswish, "has Hardswish"),
        (functional.leaky_relu, "has LeakyReLU"),
        (lambda x: functional.relu(x) + functional.elu(x), "has ELU"),
        (torch.tanh, "has none"),
    ],
)
def test_other_activations_are_refused(rectify, words):
    for method in (GuidedBackprop, GuidedGradCam):
        with pytest.raises(ValueError, match=f"defined for rectifiers, nn.ReLU.*{words}"):
            method(Net(rectify)).attribute(IMAGES, target=1)


def test_a_model_that_can_hold_no_rectifier_is_refused_at_once():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for method in (GuidedBackprop, GuidedGradCam):
        with pytest.raises(ValueError, match="has none"):
            method(net)


def test_a_function_is_refused():
    with pytest.raises(TypeError, match="a module whose layers guided backpropagation can see"):
        GuidedBackprop(lambda x: x)
