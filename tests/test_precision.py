"""Reduced precision is the model's alone: all else is made in float32 or wider."""

import copy

import pytest
import torch
from torch import nn

from captum_ext.curve import GaussianBlur, ms_ssim
from captum_ext.mask import blurred
from captum_ext.path import BlurPath, gaussian_blur
from tests.devices.cases import IMAGES, LONGER, MAPS, METHODS, METRICS, MODEL

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
@pytest.mark.parametrize(
    "name", ["guided", "blur", "idgi", "rise", "grad-cam", "mask", "published"]
)
def test_autocast_inside_and_around_the_model_gives_one_map(name, half):
    inside = METHODS[name](Reduced(half)).attribute(IMAGES, target=1)
    bare = nn.Sequential(copy.deepcopy(MODEL))
    with torch.autocast("cpu", half):
        around = METHODS[name](bare).attribute(IMAGES, target=1)
    assert inside.dtype == around.dtype == torch.float32
    assert torch.equal(inside, around)
    exact = METHODS[name](bare).attribute(IMAGES, target=1)
    assert not torch.equal(inside, exact)
    assert (inside - exact).norm() < 0.1 * exact.norm()


@HALVES
@pytest.mark.filterwarnings("ignore:nothing was deleted")
@pytest.mark.parametrize("name", METHODS)
def test_weights_of_half_precision_give_finite_maps_of_the_inputs_type(name, half):
    images, make = IMAGES.to(half), (LONGER if "igos" in name else METHODS)[name]
    found = make(copy.deepcopy(MODEL).to(half)).attribute(images, target=1)
    assert found.dtype == half
    exact = make(MODEL).attribute(images.float(), target=1)
    # At deletion's threshold a cell more or less goes.
    near = 0.5 if "igos" in name else 0.25
    assert 0 < (found.float() - exact).norm() < near * exact.norm()


@HALVES
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("name", ["insertion", "deletion", "road", "aic", "sic"])
def test_scores_are_added_up_in_double_precision(name, weights, half):
    def score(model, put):
        metric, (images, _, *more) = METRICS[name](model, put)
        metric.update(images, MAPS, *more)
        return metric.compute()

    wanted = score(MODEL, lambda x: x.to(half).float() if weights else x)
    if weights:
        found = score(copy.deepcopy(MODEL).to(half), lambda x: x.to(half))
    else:
        with torch.autocast("cpu", half):
            found = score(copy.deepcopy(MODEL), lambda x: x)
    assert found.dtype == wanted.dtype == torch.float64
    assert float(found) == pytest.approx(float(wanted), abs=0.05)
