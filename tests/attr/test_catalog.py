"""Methods by name do what their names say."""

import pytest
import torch
from captum.attr import NoiseTunnel
from torch import nn

from captum_ext.attr import GradCam
from captum_ext.curve import GaussianBlur
from captum_ext.registry import METHODS


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_saliency_is_the_gradient_with_its_sign(net):
    images = torch.rand(2, 3, 6, 6)
    leaf = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)
    made = METHODS["saliency"].make(net).attribute(images, target=1)
    assert (made < 0).any()
    torch.testing.assert_close(made, expected)


def test_aligned_credit_is_the_rise_from_the_blurred_image(net):
    images = torch.rand(2, 3, 64, 64)
    made = METHODS["aligned"].make(net).attribute(images, target=1, n_steps=3)
    with torch.no_grad():
        rise = (net(images) - net(GaussianBlur(51, 50.0)(images)))[:, 1]
    torch.testing.assert_close(made.flatten(1).sum(1), rise, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["grad-cam", "guided-grad-cam"])
def test_maps_of_layers_have_the_shape_of_the_image(name, net):
    images = torch.rand(2, 3, 6, 6)
    made = METHODS[name].make(net).attribute(images, target=torch.tensor([1, 2]))
    assert made.shape == images.shape
    smooth = NoiseTunnel(METHODS[name].make(net)).attribute(images, target=1, nt_samples=2)
    assert smooth.shape == images.shape


def test_the_smoothed_map_is_the_mean_of_maps(net):
    image = torch.rand(1, 3, 6, 6)
    still = NoiseTunnel(GradCam(net)).attribute(image, target=1, nt_samples=3, stdevs=0.0)
    torch.testing.assert_close(still, GradCam(net).attribute(image, target=1))
