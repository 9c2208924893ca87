"""Reduced precision is the model's alone: all else is made in float32 or wider."""

import copy

import pytest
import torch
from torch import nn

from captum_ext.curve import GaussianBlur, ms_ssim
from captum_ext.mask import blurred
from captum_ext.path import BlurPath, gaussian_blur
from tests.devices.cases import IMAGES, METHODS, MODEL

HALVES = pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
BLURS = {
    "path": lambda x: BlurPath(4.0).point(x, x, 0.5),
    "bands": lambda x: gaussian_blur(x, [0.5, 2.0]),
    "kernel": GaussianBlur(11, 5.0),
    "reference": blurred,
}


@HALVES
@pytest.mark.parametrize("name", BLURS)
def test_blurs_are_made_in_single_precision(name, half):
    blur = BLURS[name]
    wanted = blur(IMAGES)
    with torch.autocast("cpu", half):
        found = blur(IMAGES)
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)
    images = IMAGES.to(half)
    # Rounded once, at the end.
    assert torch.equal(blur(images), blur(images.float()).to(half))


@HALVES
def test_similarity_is_not_rounded_by_autocast(half):
    large = IMAGES.repeat(1, 1, 6, 6)
    with torch.autocast("cpu", half):
        found = ms_ssim(large, large.flip(3))
    assert torch.equal(found, ms_ssim(large, large.flip(3)))


class Reduced(nn.Module):
    """A model that casts by itself."""

    def __init__(self, half):
        super().__init__()
        self.model, self.half = copy.deepcopy(MODEL), half

    def forward(self, x):
        with torch.autocast("cpu", self.half):
            return self.model(x)


@HALVES
@pytest.mark.parametrize("name", ["guided", "blur", "idgi", "rise", "grad-cam"])
def test_autocast_inside_and_around_the_model_gives_one_map(name, half):
    inside = METHODS[name](Reduced(half)).attribute(IMAGES, target=1)
    with torch.autocast("cpu", half):
        around = METHODS[name](copy.deepcopy(MODEL)).attribute(IMAGES, target=1)
    assert inside.dtype == around.dtype == torch.float32
    assert torch.equal(inside, around)
    exact = METHODS[name](MODEL).attribute(IMAGES, target=1)
    assert not torch.equal(inside, exact)
    assert (inside - exact).norm() < 0.1 * exact.norm()
