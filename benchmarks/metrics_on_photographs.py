"""Insertion, AIC, SIC and localization of several methods on annotated photographs.

    python benchmarks/metrics_on_photographs.py FOLDER [--steps 50] [--limit N] [--methods ...]

FOLDER holds images and an annotations.json: {"images": [{"file", "dataset", "boxes_xyxy",
"mask", "predicted_class"}, ...]}; "mask" names an image, or is null where boxes count.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from captum.attr import IntegratedGradients, Saliency
from common import maps_of
from PIL import Image
from torchmetrics import MetricCollection
from torchvision.transforms.functional import to_tensor
from tqdm import tqdm

from captum_ext import ImageClassifier
from captum_ext.attr import IDGI, BlurIG, Configured, GuidedIG
from captum_ext.metrics import (
    Deletion,
    Insertion,
    Localization,
    boxes_to_masks,
    compare,
    information_metrics,
)


def methods_of(model, steps):
    """Methods by name; of paths of this package, steps are told when they are walked."""
    integrated, guided, blur = IntegratedGradients(model), GuidedIG(model), BlurIG(model)
    # One call evaluates a bounded number of points, whatever the number of steps.
    bounded = {"n_steps": steps, "internal_batch_size": 10}
    return {
        "gradient": Configured(Saliency(model), abs=False),
        "IG": Configured(integrated, **bounded),
        "Guided IG": guided,
        "Blur IG": blur,
        "IDGI (IG)": IDGI(integrated),
        "IDGI (Guided IG)": IDGI(guided),
        "IDGI (Blur IG)": IDGI(blur),
    }


def centered_gaussian(height, width, sigma=56.0):
    y, x = (torch.arange(side) - (side - 1) / 2 for side in (height, width))
    return torch.exp(-(y[:, None] ** 2 + x**2) / (2 * sigma**2))[None]


def metrics_of(model):
    found = {}
    for reduction in ("sum", "abs_sum"):
        found[f"insertion {reduction}"] = Insertion(model, reduction=reduction)
        found[f"insertion ratio {reduction}"] = Insertion(model, relative=True, reduction=reduction)
        found[f"deletion {reduction}"] = Deletion(model, reduction=reduction)
        found[f"information {reduction}"] = information_metrics(
            model, preset="idgi", reduction=reduction
        )
    return found


def read(folder, row):
    image = to_tensor(Image.open(folder / row["file"]).convert("RGB"))[None]
    if row["mask"]:
        mask = torch.from_numpy(np.array(Image.open(folder / row["mask"]).convert("L")) > 127)[None]
    else:
        mask = boxes_to_masks([torch.tensor(row["boxes_xyxy"])], *image.shape[2:])
    return image, mask, row["predicted_class"]


def cells(name, metric):
    """Value and 95 % interval by the name of a column."""
    if isinstance(metric, MetricCollection):
        reduction = name.split()[-1]
        return {
            f"{key} {reduction}": (float(metric[key].compute()), *metric[key].interval())
            for key in metric.keys()  # noqa: SIM118, a collection iterates in another order
        }
    if isinstance(metric, Localization):
        intervals = metric.interval()
        values = {k: v for k, v in metric.compute().items() if k in intervals}
        return {key: (float(value), *intervals[key]) for key, value in values.items()}
    return {name: (float(metric.compute()), *metric.interval())}


def table(title, rows):
    """Prints rows, {method: cells}, as a table in Markdown."""
    columns = list(next(iter(rows.values())))
    print(f"\n| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, found in rows.items():
        shown = (f"{v:.3f} [{low:.3f}, {high:.3f}]" for v, low, high in found.values())
        print(f"| {name} | {' | '.join(shown)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--methods", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = ImageClassifier.from_efficientnet_lite0()
    methods = methods_of(model, options.steps)
    methods = {k: m for k, m in methods.items() if not options.methods or k in options.methods}
    filled = {name: metrics_of(model) for name in methods}
    places = defaultdict(lambda: defaultdict(Localization))
    rows = json.loads((options.folder / "annotations.json").read_text())["images"]
    for row in tqdm(rows[: options.limit]):
        image, mask, target = read(options.folder, row)
        kind = places[row["dataset"].split()[0]]
        kind["centered Gaussian"].update(centered_gaussian(*image.shape[2:]), mask)
        for name, credit in maps_of(methods, image, target, n_steps=options.steps).items():
            kind[name].update(credit.abs().sum(1), mask)
            for metric in filled[name].values():
                metric.update(image, credit, target=target)
    for kind, found in places.items():
        n = len(found["centered Gaussian"].per_example["f1"])
        rows = {name: cells("localization", metric) for name, metric in found.items()}
        table(f"localization, {kind}, {n} images", rows)
    for key in metrics_of(model):
        table(key, {name: cells(key, metrics[key]) for name, metrics in filled.items()})
        if len(filled) > 1 and not key.startswith("information"):
            print(compare({name: metrics[key] for name, metrics in filled.items()}))


if __name__ == "__main__":
    main()
