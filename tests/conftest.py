"""A small real network, and images for it."""

import pytest
import torch
from torch import Tensor, nn

from captum_ext._weights import _SAFE_TORCH
from tests import shapes

shapes.install()

# The evidence of small networks is weak, and masks of few iterations may delete nothing.
WEAK_EVIDENCE = pytest.mark.filterwarnings("ignore:nothing was deleted")
PICKLES = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < _SAFE_TORCH,
    reason="this torch does not read pickled files safely, and they are refused",
)
OWN_START = pytest.mark.filterwarnings("ignore:`baselines` is ignored. BlurPath")


def small_net(channels: int = 3, classes: int = 5) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, classes),
        nn.Softmax(1),
    )
    for parameter in net.parameters():
        scale = 1.8 / max(1, parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.1
        parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    return net.eval()


@pytest.fixture
def model() -> nn.Sequential:
    return small_net()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 20, 16, generator=torch.Generator().manual_seed(1))
