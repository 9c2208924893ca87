"""Insertion and deletion of masks beside other maps, as table 1 of the iGOS++ paper.

Scored as in mask_tradeoff.py; maps of other methods are ranked pixel by pixel, 1,003 a step. IG by
the sum of absolute values over channels. Means with 95 % intervals, and forward passes per image,
a gradient counted as three.

    python benchmarks/mask_table.py [FOLDER] [--limit 8] [--mask-size 28] [--rise-masks 4000]
        [--methods IG,Grad-CAM,RISE,Mask,I-GOS,iGOS+,iGOS++] [--json rows.json] [--figure maps.png]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam
from mask_tradeoff import photographs, scores
from torch import Tensor

from captum_ext import ImageClassifier
from captum_ext.attr import IGOS, RISE, IGOSPlus, IGOSPlusPlus, MeaningfulPerturbation

Made = tuple[Tensor, Tensor, float]
"""A map to score (1, 1, h, w), low is salient; a map to look at (1, 1, H, W); its cost."""


def gradients(model: ImageClassifier, image: Tensor, target: Tensor, _: Any) -> Made:
    found = IntegratedGradients(model).attribute(
        image, target=target, n_steps=50, internal_batch_size=16
    )
    credit = found.abs().sum(1, keepdim=True)
    return -credit, credit, 150


def grad_cam(model: ImageClassifier, image: Tensor, target: Tensor, _: Any) -> Made:
    found = LayerGradCam(model, model.model._bn1).attribute(
        image, target=target, relu_attributions=True
    )
    credit = LayerAttribution.interpolate(found.detach(), image.shape[-2:], "bilinear")
    return -credit, credit, 3


def rise(model: ImageClassifier, image: Tensor, target: Tensor, options: Any) -> Made:
    found = RISE(model).attribute(
        image, target=target, n_masks=options.rise_masks, perturbations_per_eval=16
    )
    credit = found[:, :1]
    return -credit, credit, options.rise_masks


def optimized(method: type) -> Callable[..., Made]:
    def make(model: ImageClassifier, image: Tensor, target: Tensor, options: Any) -> Made:
        run = method(model, options.mask_size).optimize(image, target=target)
        mask = run.descent.masks.prod(1)
        side = round(mask.shape[1] ** 0.5)
        cost = float(run.descent.forwards[-1])
        return mask.view(1, 1, side, side), run.attributions[:, :1], cost

    return make


METHODS: dict[str, Callable[..., Made]] = {
    "IG": gradients,
    "Grad-CAM": grad_cam,
    "RISE": rise,
    "Mask": optimized(MeaningfulPerturbation),
    "I-GOS": optimized(IGOS),
    "iGOS+": optimized(IGOSPlus),
    "iGOS++": optimized(IGOSPlusPlus),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--mask-size", type=int, default=28)
    parser.add_argument("--rise-masks", type=int, default=4000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    model = ImageClassifier.from_efficientnet_lite0().to(memory_format=torch.channels_last)
    images = photographs(arguments.folder, model.transform, arguments.limit)
    rows: dict[str, list[tuple[float, float, float]]] = {}
    maps: dict[str, list[Tensor]] = {}
    for number, image in enumerate(images.split(1)):
        with torch.no_grad():
            target = model(image).argmax(1)
        for name in arguments.methods.split(","):
            start = time.time()
            mask, credit, cost = METHODS[name](model, image, target, arguments)
            step = 1003 if mask.shape[-1] == image.shape[-1] else 15
            deletion, insertion = scores(model, image, target, mask, step)[:, 0].tolist()
            rows.setdefault(name, []).append((deletion, insertion, cost))
            maps.setdefault(name, []).append(credit[0, 0])
            print(
                f"image {number} {name:9} deletion {deletion:.3f} insertion {insertion:.3f} "
                f"cost {cost:5.0f} ({time.time() - start:.0f} s)",
                flush=True,
            )
        if arguments.json:
            arguments.json.write_text(json.dumps(rows))
        if arguments.figure:
            draw(images, maps, arguments.figure)
    report(rows)


def report(rows: dict[str, list[tuple[float, float, float]]]) -> None:
    print(f"\n{'method':10}{'deletion':>18}{'insertion':>18}{'cost':>8}")
    for name, found in rows.items():
        table = torch.tensor(found)
        half = 1.96 * table.std(0) / len(found) ** 0.5
        cells = [f"{m:.3f} +- {h:.3f}" for m, h in zip(table.mean(0)[:2], half[:2], strict=True)]
        print(f"{name:10}{cells[0]:>18}{cells[1]:>18}{table[:, 2].mean():8.0f}")


def draw(images: Tensor, maps: dict[str, list[Tensor]], file: Path, most: int = 4) -> None:
    """The image and its maps, a row for each of the first images."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    n = min(most, len(next(iter(maps.values()))))
    figure, axes = plt.subplots(
        n, 1 + len(maps), figsize=(2 * (1 + len(maps)), 2.1 * n), squeeze=False
    )
    for row in range(n):
        axes[row, 0].imshow(images[row].permute(1, 2, 0))
        for axis, (name, found) in zip(axes[row, 1:], maps.items(), strict=True):
            if row < len(found):
                axis.imshow(images[row].mean(0), cmap="gray", alpha=0.5)
                high = float(found[row].quantile(0.99)) or 1.0
                axis.imshow(found[row], cmap="jet", alpha=0.6, vmin=0 if name != "RISE" else None,
                            vmax=high)  # fmt: skip
            axis.set_title(name if row == 0 else "")
        for axis in axes[row]:
            axis.axis("off")
    figure.tight_layout()
    figure.savefig(file, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
