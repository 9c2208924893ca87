"""What channels_last is worth for convolutional models, as a table in Markdown.

    python benchmarks/channels_last.py [--device cuda] [--repeats 5] [--batch 8]
        [--precisions float32 bf16] [--models EfficientNet-Lite0 ResNet-50 ConvNeXt-T]

`model.to(memory_format=torch.channels_last)` beside the same model as it comes, on contiguous
images, in turn in one process: processor time on the CPU, time until the device is done elsewhere.
Random weights, as only time is measured. Below 1 channels_last is quicker.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from captum_ext import ImageClassifier

PRECISIONS = ("float32", "bf16")
MODELS = ("EfficientNet-Lite0", "ResNet-50", "ConvNeXt-T")


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "EfficientNet-Lite0":
        return ImageClassifier.from_efficientnet_lite0().eval()
    from torchvision import models

    made = {"ResNet-50": models.resnet50, "ConvNeXt-T": models.convnext_tiny}
    return made[name](weights=None).eval()


def forward(model: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        model(x)


def gradient(model: nn.Module, x: Tensor) -> None:
    leaf = x.detach().requires_grad_()
    torch.autograd.grad(model(leaf)[:, 0].float().sum(), leaf)


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    getattr(torch, device.type).synchronize()
    begun = time.perf_counter()
    work()
    getattr(torch, device.type).synchronize()
    return time.perf_counter() - begun


def ratios(name: str, told: argparse.Namespace, precision: str) -> dict[str, list[float]]:
    """Time of channels_last over that of the model as it comes, pair by pair."""
    device = torch.device(told.device)
    plain = network(name).to(device).requires_grad_(False)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    x = torch.rand(told.batch, 3, told.side, told.side, device=device)
    around: AbstractContextManager[Any] = nullcontext()
    if precision == "bf16":
        around = torch.autocast(device.type, torch.bfloat16)
    found: dict[str, list[float]] = {"forward": [], "gradient": []}
    with around:
        for key, ask in (("forward", forward), ("gradient", gradient)):
            ask(plain, x), ask(last, x)  # also warms up
            for _ in range(told.repeats):
                one, other = (seconds(partial(ask, m, x), device) for m in (plain, last))
                found[key].append(other / one)
    return found


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=[*PRECISIONS])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    told = parser.parse_args(words)
    print("| model | precision | forward | gradient |\n|---|---|---|---|")
    for name in told.models:
        for precision in told.precisions:
            found = ratios(name, told, precision).values()
            cells = [f"{statistics.median(r):.2f} ({min(r):.2f}-{max(r):.2f})" for r in found]
            print(f"| {name} | {precision} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
