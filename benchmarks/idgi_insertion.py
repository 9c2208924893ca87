"""Does IDGI beat the method it is over? Insertion as in the IDGI paper (CVPR 2023, table 1).

Black reference, 5 % steps; probability and probability ratio; pixels ranked by the signed sum
over channels and by the sum of absolute values. Only images that the model gets right.

    python benchmarks/idgi_insertion.py [FOLDER] [--steps 50] [--limit N]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from captum.attr import IntegratedGradients
from common import correct, maps_of, photographs
from scipy.stats import wilcoxon

from captum_ext import ImageClassifier
from captum_ext.attr import IDGI, BlurIG, Configured, GuidedIG
from captum_ext.metrics import insertion_curve

PAIRS = {"IG": IntegratedGradients, "Guided IG": GuidedIG, "Blur IG": BlurIG}


def scores(model, image, credit, target):
    """Insertion by reading and ranking."""
    found = {}
    for reduction in ("sum", "abs_sum"):
        curve = insertion_curve(
            model, image, credit, 0.0, target=target, reduction=reduction, n_steps=20
        )
        found[f"probability, {reduction}"] = float(curve.area())
        found[f"ratio, {reduction}"] = float(curve.relative().area())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = ImageClassifier.from_efficientnet_lite0()
    over = {name: make(model) for name, make in PAIRS.items()}
    chunk = {"internal_batch_size": 16}
    methods = over | {f"IDGI ({name})": IDGI(method) for name, method in over.items()}
    methods["IG"] = Configured(over["IG"], n_steps=arguments.steps, **chunk)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for name, image, label in photographs(arguments.folder)[: arguments.limit]:
        target = correct(model, image, label)
        if target is None:
            continue
        maps = maps_of(methods, image, target, n_steps=arguments.steps, **chunk)
        for method, credit in maps.items():
            rows[method].append(scores(model, image, credit, target))
        print(name, {m: round(r[-1]["probability, abs_sum"], 3) for m, r in rows.items()})
        if arguments.json:
            arguments.json.write_text(json.dumps(rows))
    report(rows)


def report(rows: dict[str, list[dict[str, float]]]) -> None:
    """Means, and for each pair the gain of IDGI with its share of wins and p value."""
    readings = list(next(iter(rows.values()))[0])
    print(f"\n{len(rows['IG'])} images\n{'':20}" + "".join(f"{r:>24}" for r in readings))
    for method, found in rows.items():
        means = [torch.tensor([f[r] for f in found]).mean().item() for r in readings]
        print(f"{method:20}" + "".join(f"{m:24.4f}" for m in means))
    for name in PAIRS:
        for reading in readings:
            gain = torch.tensor([b[reading] - a[reading] for a, b in
                                 zip(rows[name], rows[f"IDGI ({name})"], strict=True)])  # fmt: skip
            p = wilcoxon(gain.numpy()).pvalue if len(gain) > 5 else float("nan")
            print(f"IDGI over {name}, {reading}: gain {gain.mean():+.4f}, "
                  f"wins {(gain > 0).float().mean():.0%}, Wilcoxon p {p:.2g}")  # fmt: skip


if __name__ == "__main__":
    main()
