"""One setting of a mask against another on the same photographs, classes and seeds.

Insertion and deletion as in mask_tradeoff.py, of the map at 224 x 224 and 1,003 pixels a step.
Means of both settings, and their paired differences with 95 % intervals.

    python benchmarks/mask_settings.py COMPARISON [FOLDER] [--limit 4] [--every 3] [--ranks 0,1,2]
        [--sizes 28] [--method iGOS++] [--json rows.json]

COMPARISON is `relative` (weights as they are, and times the score), `edge` (`BilateralTV` and
`EdgeTV`) or `scale` (total variation that means the same at every mask size, and means over
neighbors). Rank 1 is the model's second class. What is in the JSON file is not run again.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mask_tradeoff import METHODS, photographs, scores
from torch import Tensor

from captum_ext import ImageClassifier
from captum_ext.attr import MaskAttribution
from captum_ext.mask import L1, TV, EdgeTV, Regularizer

Make = Callable[[type[MaskAttribution], ImageClassifier, int], MaskAttribution]


def with_variation(variation: Regularizer) -> Make:
    def make(kind: Any, model: ImageClassifier, size: int) -> MaskAttribution:
        method: MaskAttribution = kind(model, size)
        method.regularizers = (L1(1.0), variation)
        return method

    return make


def default(kind: Any, model: ImageClassifier, size: int) -> MaskAttribution:
    method: MaskAttribution = kind(model, size)
    return method


def relative(kind: Any, model: ImageClassifier, size: int) -> MaskAttribution:
    method: MaskAttribution = kind(model, size, relative_weights=True)
    return method


COMPARISONS: dict[str, dict[str, Make]] = {
    "relative": {"default": default, "relative": relative},
    "edge": {"default": default, "edge": with_variation(EdgeTV(20.0))},
    "scale": {"default": default, "means": with_variation(TV(20.0, scaled=False))},
}


def row(method: MaskAttribution, image: Tensor, target: int) -> dict[str, float]:
    """Scores of one map, its largest value, and what it cost."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "nothing was deleted")
        run = method.optimize(image, target=target)
    kept = 1 - run.attributions[:, :1]
    deletion, insertion = scores(method.forward_func, image, torch.tensor([target]), kept, 1003)
    return {
        "deletion": float(deletion),
        "insertion": float(insertion),
        "empty": float(kept.min() > 1 - 1e-3),
        "cost": float(run.descent.forwards[-1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparison", choices=COMPARISONS)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--limit", type=int, default=4)
    parser.add_argument("--every", type=int, default=1, help="of the folder's photographs")
    parser.add_argument("--ranks", default="0", help="places of the explained classes")
    parser.add_argument("--sizes", default="28")
    parser.add_argument("--method", default="iGOS++", choices=METHODS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = ImageClassifier.from_efficientnet_lite0().to(memory_format=torch.channels_last)
    images = photographs(arguments.folder, model.transform, None)[:: arguments.every]
    pair = COMPARISONS[arguments.comparison]
    found: dict[str, dict[str, float]] = {}
    if arguments.json and arguments.json.exists():
        found = json.loads(arguments.json.read_text())
    for size in map(int, arguments.sizes.split(",")):
        for rank in map(int, arguments.ranks.split(",")):
            rows: list[list[dict[str, float]]] = []
            for number, image in enumerate(images[: arguments.limit].split(1)):
                with torch.no_grad():
                    target = int(model(image)[0].argsort(descending=True)[rank])
                for name, make in pair.items():
                    key = f"{arguments.method} {size} {rank} {number} {name}"
                    if key not in found:
                        found[key] = row(
                            make(METHODS[arguments.method], model, size), image, target
                        )
                        print(key, found[key], flush=True)
                    if arguments.json:
                        arguments.json.write_text(json.dumps(found))
                prefix = f"{arguments.method} {size} {rank} {number} "
                rows.append([found[prefix + name] for name in pair])
            report(f"{arguments.method} at {size}, class {rank + 1}", list(pair), rows)


def report(title: str, names: list[str], rows: list[list[dict[str, float]]]) -> None:
    print(f"\n{title}, n = {len(rows)}: {names[0]}, {names[1]}, difference")
    for column in ("deletion", "insertion", "empty", "cost"):
        first, second = torch.tensor([[r[column] for r in pair] for pair in rows]).double().T
        change = second - first
        half = 1.96 * change.std() / len(change) ** 0.5
        print(
            f"{column:10}{first.mean():9.3f}{second.mean():9.3f}{change.mean():+9.3f} +- {half:.3f}"
        )


if __name__ == "__main__":
    main()
