"""What half precision does to each map and score, as a table in Markdown.

    python benchmarks/precision.py [--steps 20] [--masks 200] [--precisions bf16 fp16 bf16-weights]
        [--methods "IDGI (IG)" RISE]

EfficientNet-Lite0 explains photographs of scikit-image on the CPU in float32, under autocast, and
with weights and images of half precision. A map's own column is its rank correlation with the
float32 map over pixels; beside it, how far insertion and deletion, both in float32, move. Scores
are of Grad-CAM's float32 maps, read by the model in each precision.
"""

from __future__ import annotations

import argparse
import copy
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from captum.attr import IntegratedGradients
from PIL import Image
from scipy.stats import spearmanr
from skimage import data
from torch import Tensor, nn

from captum_ext import ImageClassifier
from captum_ext.attr import (
    IDGI,
    IGOS,
    RISE,
    BlurIG,
    Configured,
    GradCam,
    GuidedIG,
    IGOSPlusPlus,
    MeaningfulPerturbation,
)
from captum_ext.metrics import AIC, SIC, Deletion, Insertion

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16, "bf16-weights": torch.bfloat16}


def methods(steps: int, masks: int) -> dict[str, Callable[[nn.Module], Any]]:
    few = {"n_steps": steps}
    return {
        "IG": lambda m: Configured(IntegratedGradients(m), internal_batch_size=8, **few),
        "IDGI (IG)": lambda m: Configured(IDGI(IntegratedGradients(m)), **few),
        "Guided IG": lambda m: Configured(GuidedIG(m), **few),
        "Blur IG": lambda m: Configured(BlurIG(m), **few),
        "Grad-CAM": GradCam,
        "RISE": lambda m: Configured(RISE(m), n_masks=masks, perturbations_per_eval=8),
        "I-GOS": lambda m: Configured(IGOS(m), n_iter=max(1, steps // 4)),
        "iGOS++": lambda m: Configured(IGOSPlusPlus(m), n_iter=max(1, steps // 4)),
        "Mask": lambda m: Configured(MeaningfulPerturbation(m), n_iter=steps),
    }


METRICS: dict[str, Callable[[nn.Module], Any]] = {
    "insertion": lambda m: Insertion(m, n_steps=20),
    "deletion": lambda m: Deletion(m, n_steps=20),
    "AIC, MS-SSIM": lambda m: AIC(m, preset="tmlr"),
    "SIC, MS-SSIM": lambda m: SIC(m, preset="tmlr"),
}


class Reduced:
    """A model and images in a precision, and the autocast around the calls."""

    def __init__(self, name: str, model: nn.Module, images: Tensor) -> None:
        half = HALVES[name]
        self.weights = name.endswith("weights")
        self.model = copy.deepcopy(model).to(half) if self.weights else model
        self.images = images.to(half) if self.weights else images
        self.half = half

    def around(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.weights else torch.autocast("cpu", self.half)


def photographs(model: ImageClassifier) -> Tensor:
    pictures = (data.coffee(), data.chelsea(), data.astronaut())
    return torch.stack([model.transform(Image.fromarray(p)) for p in pictures])


def scores(make: Callable[[nn.Module], Any], model: nn.Module, given: Any) -> Tensor:
    metric = make(model)
    metric.update(*given[:2], target=given[2])
    return metric.per_example


def agreement(one: Tensor, other: Tensor) -> float:
    pairs = zip(one.sum(1).flatten(1), other.sum(1).flatten(1), strict=True)
    found = [spearmanr(a, b.float()).statistic for a, b in pairs]
    return sum(found) / len(found)


def row(name: str, cells: list[str]) -> None:
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def maps_table(chosen: dict[str, Reduced], exact: Reduced, target: Tensor, made: Any) -> None:
    columns = [f"{name}: {what}" for name in chosen for what in ("rank", "insertion", "deletion")]
    row("map", columns), row("---", ["---"] * len(columns))
    for name, make in made.items():
        wanted = make(exact.model).attribute(exact.images, target=target)
        before = [
            scores(METRICS[m], exact.model, (exact.images, wanted, target))
            for m in ("insertion", "deletion")
        ]
        cells = []
        for reduced in chosen.values():
            with reduced.around():
                found = make(reduced.model).attribute(reduced.images, target=target).float()
            cells.append(f"{agreement(wanted, found):.3f}")
            for metric, old in zip(("insertion", "deletion"), before, strict=True):
                new = scores(METRICS[metric], exact.model, (exact.images, found, target))
                cells.append(f"{float((new - old).mean()):+.4f}")
        row(name, cells)


def scores_table(chosen: dict[str, Reduced], exact: Reduced, target: Tensor, maps: Tensor) -> None:
    row("score", ["float32", *chosen]), row("---", ["---"] * (1 + len(chosen)))
    for name, make in METRICS.items():
        wanted = scores(make, exact.model, (exact.images, maps, target))
        cells = [f"{float(wanted.nanmean()):.4f}"]
        for reduced in chosen.values():
            with reduced.around():
                found = scores(make, reduced.model, (reduced.images, maps, target))
            cells.append(f"{float((found - wanted).nanmean()):+.4f}")
        row(name, cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--masks", type=int, default=200)
    parser.add_argument("--precisions", nargs="+", choices=HALVES, default=[*HALVES])
    parser.add_argument("--methods", nargs="+", help="default: all")
    parser.add_argument(
        "--tables", nargs="+", choices=["maps", "scores"], default=["maps", "scores"]
    )
    told = parser.parse_args()
    warnings.simplefilter("ignore")
    model = ImageClassifier.from_efficientnet_lite0()
    images = photographs(model)
    with torch.no_grad():
        target = model(images).argmax(1)
    chosen = {name: Reduced(name, model, images) for name in told.precisions}
    exact = Reduced("bf16", model, images)
    made = methods(told.steps, told.masks)
    made = {name: made[name] for name in told.methods or made}
    if "maps" in told.tables:
        maps_table(chosen, exact, target, made)
        print()
    if "scores" in told.tables:
        maps = GradCam(model).attribute(images, target=target)
        scores_table(chosen, exact, target, maps)


if __name__ == "__main__":
    main()
