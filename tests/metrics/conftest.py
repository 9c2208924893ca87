import pytest
import torch
from torch import nn

from captum_ext import ImageClassifier


@pytest.fixture(scope="session")
def model():
    """A small classifier of images in [0, 1] whose answers depend on them clearly."""
    generator = torch.Generator().manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(8 * 16, 5),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.25)
    return ImageClassifier(net.eval(), mean=[0.5] * 3, std=[0.25] * 3)


@pytest.fixture
def images():
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def maps():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels(model, images):
    """Classes that the images' detail speaks for."""
    flat = images.mean((2, 3), keepdim=True).expand_as(images)
    with torch.no_grad():
        return (model(images) - model(flat)).argmax(1)
