"""Two small networks trained on the spot: a ResNet with ReLUs and a vision transformer.

    python benchmarks/trained.py --folder FOLDER [--seed 0]

The images are the 1,797 handwritten digits of scikit-learn, 8 x 8, each of random color on one of
the sixteen tiles of a canvas of 32 x 32; four other tiles hold digits whose pixels are shuffled. So
it is known where the object is. The last 400 digits are kept aside. Prints the accuracy on them;
the weights are kept in FOLDER, and a second call trains nothing.
"""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import VisionTransformer
from tqdm import tqdm

from captum_ext import ImageClassifier

SIDE, TILE, N_CLUTTER, N_TEST = 32, 8, 4, 400


class Block(nn.Module):
    """Two convolutions beside a shortcut (He et al., CVPR 2016)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        stride = 1 if width == out else 2
        self.body = nn.Sequential(
            nn.Conv2d(width, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.short = nn.Identity() if width == out else nn.Conv2d(width, out, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.short(x))


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *(Block(16, 32), Block(32, 32), Block(32, 64), Block(64, 64)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def vit() -> nn.Module:
    return VisionTransformer(SIDE, 8, num_layers=3, num_heads=4, hidden_dim=64, mlp_dim=128,
                             num_classes=10)  # fmt: skip


NETWORKS = {"resnet": resnet, "vit": vit}


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Digits (1797, 64) in [0, 1] and their classes, in one random order."""
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return torch.as_tensor(pixels, dtype=torch.float32)[order] / 16, torch.as_tensor(labels)[order]


def placed(rows: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images (N, 3, 32, 32) in [0, 1], classes, and where the strokes of the digit are."""
    images, labels = digits()
    generator = torch.Generator().manual_seed(seed)
    n, n_tiles = len(rows), (SIDE // TILE) ** 2
    tiles = torch.zeros(n, n_tiles, TILE * TILE)
    places = torch.rand(n, n_tiles, generator=generator).argsort(1)
    for k in range(1, N_CLUTTER + 1):
        other = images[torch.randint(len(images) - N_TEST, (n,), generator=generator)]
        shuffled = torch.rand(other.shape, generator=generator).argsort(1)
        tiles[torch.arange(n), places[:, k]] = other.gather(1, shuffled)
    strokes = torch.zeros_like(tiles)
    strokes[torch.arange(n), places[:, 0]] = images[rows]
    color = 0.4 + 0.6 * torch.rand(n, 3, n_tiles, 1, generator=generator)
    canvas = 0.3 * torch.rand(n, 3, n_tiles, TILE * TILE, generator=generator)
    ink = (tiles + strokes)[:, None]
    canvas = canvas * (1 - ink) + color * ink
    return _whole(canvas), labels[rows], _whole(strokes[:, None])[:, 0] > 0.3


def _whole(tiles: Tensor) -> Tensor:
    """Tiles (N, C, tiles, pixels) as images (N, C, 32, 32)."""
    n, channels, side = len(tiles), tiles.shape[1], SIDE // TILE
    grid = tiles.view(n, channels, side, side, TILE, TILE)
    return grid.transpose(3, 4).reshape(n, channels, SIDE, SIDE)


def held_out(n: int = N_TEST, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Images of digits that no network was trained on, their classes and their regions."""
    return placed(torch.arange(len(digits()[0]) - N_TEST, len(digits()[0]))[:n], seed)


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        found = torch.cat([network.eval()(part - 0.5).argmax(1) for part in images.split(100)])
    return float((found == labels).double().mean())


def train(network: nn.Module, epochs: int, seed: int) -> nn.Module:
    """Adam with a cosine schedule; every epoch places the digits anew."""
    n = len(digits()[0]) - N_TEST
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, epochs * -(-n // 50))
    for epoch in tqdm(range(epochs)):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(1000 * seed + epoch))
        images, labels, _ = placed(order, seed=1000 * seed + epoch + 10)
        network.train()
        for x, y in zip(images.split(50), labels.split(50), strict=True):
            loss = functional.cross_entropy(network(x - 0.5), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return network


EPOCHS = {"resnet": 10, "vit": 60}


def classifier(name: str, folder: Path, seed: int = 0) -> ImageClassifier:
    """The trained network of images in [0, 1], from FOLDER or trained now."""
    file = folder / f"{name}-{seed}.pth"
    torch.manual_seed(seed)
    network = NETWORKS[name]()
    if file.exists():
        network.load_state_dict(torch.load(file, weights_only=True))
    else:
        train(network, EPOCHS[name], seed)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), file)
    return ImageClassifier(network.eval(), [0.5] * 3, [1.0] * 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=NETWORKS)
    options = parser.parse_args()
    images, labels, _ = held_out()
    for name in [options.only] if options.only else NETWORKS:
        model = classifier(name, options.folder, options.seed)
        print(f"{name}: {accuracy(model.model, images, labels):.3f} of {N_TEST} held-out digits")


if __name__ == "__main__":
    main()
