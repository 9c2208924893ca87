"""An image whose patch alone decides a small conv net's class."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = (slice(32, 80), slice(24, 60))


def detector(slope: float = 8.0) -> nn.Module:
    """Probability of "red": how far the red share of the image exceeds a sixteenth."""
    conv = nn.Conv2d(3, 1, 3, padding=1)
    conv.weight.data = torch.tensor([1.0, -0.5, -0.5]).view(1, 3, 1, 1).expand(1, 3, 3, 3) / 9
    conv.bias.data = torch.tensor([-0.25])
    head = nn.Linear(1, 2)
    head.weight.data, head.bias.data = (
        torch.tensor([[-slope], [slope]]) * 8,
        torch.tensor([2.5, -2.5]),
    )
    layers = (conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head, nn.Softmax(1))
    return nn.Sequential(*layers).eval()


def planted(height: int = 112, width: int = 84) -> Tensor:
    """Gray noise (1, 3, height, width) with a red patch at `PATCH`, scaled to the size."""
    generator = torch.Generator().manual_seed(3)
    image = 0.4 + 0.1 * torch.randn(1, 1, height, width, generator=generator).expand(1, 3, -1, -1)
    image = image.clone()
    image[:, 0][(slice(None), *PATCH)] += 0.5
    image[:, 1:][(slice(None), slice(None), *PATCH)] -= 0.3
    return image.clamp(0, 1)


def overlap(maps: Tensor) -> float:
    """Intersection over union of the patch with as many pixels of the highest attribution."""
    truth = torch.zeros(maps.shape[-2:], dtype=torch.bool)
    truth[PATCH] = True
    order = maps[0].sum(0).flatten().argsort(descending=True)
    found = torch.zeros(truth.numel(), dtype=torch.bool)
    found[order[: int(truth.sum())]] = True
    found = found.view(truth.shape)
    return float((found & truth).sum() / (found | truth).sum())


def scenes() -> Tensor:
    """Three small versions (3, 3, 28, 21) of the image, unlike in brightness."""
    small = F.interpolate(planted(), (28, 21), mode="area")
    return torch.cat([small, 0.9 * small, 0.8 * small.flip(2)])
