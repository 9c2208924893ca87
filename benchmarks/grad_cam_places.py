"""Does Grad-CAM's map, with the layer that it finds by itself, lie on the object?

    python benchmarks/grad_cam_places.py [FOLDER] [--trained DIR] [--limit 100] [--figure FILE]

A small vision transformer trained on the spot (trained.py, weights in DIR) on held-out digits
whose strokes are known, and EfficientNet-Lite0 on the annotated photographs of FOLDER (as in
metrics_on_photographs.py). Of images that the network gets right: the area under the ROC curve of
the annotated pixels and the share of credit on them, beside the share of pixels that they are,
which is what a map without places has; means with 95 % bootstrap intervals. For the transformer
also the size of the gradient at the tokens that Grad-CAM reads, which says whether places are read
rightly, and occlusion of each tile, which says what the network looks at.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import trained
from captum.attr import Occlusion
from matplotlib.figure import Figure
from metrics_on_photographs import read
from torch import Tensor
from torch.nn import functional

from captum_ext import ImageClassifier
from captum_ext.attr import GradCam
from captum_ext.metrics import Localization
from captum_ext.viz import overlay


@dataclass(frozen=True)
class Item:
    """An image (1, C, H, W), its class, and where the object is, (1, H, W)."""

    name: str
    image: Tensor
    target: int
    region: Tensor


def photographs(folder: Path) -> Iterator[Item]:
    for row in json.loads((folder / "annotations.json").read_text())["images"]:
        image, region, _ = read(folder, row)
        yield Item(row["file"], image, row["expected_class"], region)


def digits() -> Iterator[Item]:
    images, labels, regions = trained.held_out()
    for k, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        yield Item(f"digit {label}", image[None], label, regions[k : k + 1])


def token_gradients(model: ImageClassifier, image: Tensor, target: int) -> Tensor:
    """The size of the gradient at the tokens before the last block, in the shape of the image."""
    held: list[Tensor] = []
    layer = model.model.encoder.layers[-2]
    handle = layer.register_forward_hook(lambda *given: held.append(given[2]))
    score = model(image)[0, target]
    handle.remove()
    (gradient,) = torch.autograd.grad(score, held)
    sizes = gradient[:, 1:].abs().sum(2).view(1, 1, 4, 4)
    return functional.interpolate(sizes, scale_factor=trained.TILE)


def occlusion(model: ImageClassifier, image: Tensor, target: int) -> Tensor:
    tile = (3, trained.TILE, trained.TILE)
    return Occlusion(model).attribute(
        image, sliding_window_shapes=tile, strides=tile, baselines=0.15, target=target
    )


def right(model: ImageClassifier, items: Iterator[Item], limit: int) -> Iterator[Item]:
    n = 0
    for item in items:
        with torch.no_grad():
            known = int(model(item.image).argmax()) == item.target
        if known and n < limit:
            n += 1
            yield item


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--trained", type=Path, default=Path("trained"))
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = {"vit": (trained.classifier("vit", options.trained), digits())}
    if options.folder:
        lite0 = ImageClassifier.from_efficientnet_lite(0)
        runs["lite0"] = (lite0, photographs(options.folder))
    shown = []
    for name, (model, items) in runs.items():
        methods = {"Grad-CAM": GradCam(model).attribute}
        if name == "vit":
            methods |= {"size of the gradient": partial(token_gradients, model),
                        "occlusion": partial(occlusion, model)}  # fmt: skip
        metrics, shares = {key: Localization() for key in methods}, []
        for item in right(model, items, options.limit):
            maps = {key: made(item.image, target=item.target) for key, made in methods.items()}
            for key, credit in maps.items():
                metrics[key].update(credit, item.region)
            shares.append(float(item.region.double().mean()))
            if len(shares) <= 8:
                shown.append((item, maps["Grad-CAM"]))
        for key, metric in metrics.items():
            cells = [
                f"{score} {float(metric.compute()[score]):.3f} "
                f"({float(metric.interval()[score][0]):.3f} to "
                f"{float(metric.interval()[score][1]):.3f})"
                for score in ("roc_auc", "energy")
            ]
            print(f"{name}, {len(shares)} images, {key}: {', '.join(cells)}; "
                  f"pixels annotated {sum(shares) / len(shares):.3f}")  # fmt: skip
    if options.figure:
        draw(shown, options.figure)


def draw(shown: list[tuple[Item, Tensor]], file: Path) -> None:
    """Each image over its map."""
    figure = Figure((1.6 * 8, 3.4 * -(-len(shown) // 8)), layout="constrained")
    axes = figure.subplots(2 * -(-len(shown) // 8), 8, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for k, (item, credit) in enumerate(shown):
        row, column = divmod(k, 8)
        axes[2 * row, column].imshow(item.image[0].permute(1, 2, 0))
        axes[2 * row, column].set_title(item.name[:18], fontsize=7)
        axes[2 * row + 1, column].imshow(overlay(item.image[0], credit[0]))
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
