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
from PIL import Image
from torchvision.transforms.functional import to_tensor
from tqdm import tqdm

from captum_ext import ImageClassifier
from captum_ext.metrics import (
    Deletion,
    Insertion,
    Localization,
    boxes_to_masks,
    compare,
    information_metrics,
)


def methods_of(model, steps):
    """Methods by name, each a function from image and class to a map."""

    def walk(method, n_steps=None):
        named = {} if n_steps is None else {"n_steps": n_steps}
        return lambda x, c: method.attribute(x, target=c, **named)

    integrated = IntegratedGradients(model)
    # One call evaluates a bounded number of points, whatever the number of steps.
    found = {
        "gradient": walk(Saliency(model)),
        "IG": lambda x, c: integrated.attribute(x, target=c, n_steps=steps, internal_batch_size=10),
    }
    try:
        from captum_ext.attr import IDGI, BlurIG, GuidedIG
    except ImportError:
        return found
    guided, blur = GuidedIG(model), BlurIG(model)
    return {
        **found,
        "GuidedIG": walk(guided, steps),
        "BlurIG": walk(blur, steps),
        "IDGI(IG)": walk(IDGI(integrated), steps),
        "IDGI(GuidedIG)": walk(IDGI(guided), steps),
        "IDGI(BlurIG)": walk(IDGI(blur), steps),
    }


def centered_gaussian(height, width, sigma=56.0):
    y, x = (torch.arange(side) - (side - 1) / 2 for side in (height, width))
    return torch.exp(-(y[:, None] ** 2 + x**2) / (2 * sigma**2))[None]


def metrics_of(model):
    found = {
        "localization": Localization(reduction="abs_sum"),
        "deletion": Deletion(model),
    }
    for reduction in ("sum", "abs_sum"):
        found[f"insertion {reduction}"] = Insertion(model, reduction=reduction)
        found[f"insertion ratio {reduction}"] = Insertion(model, relative=True, reduction=reduction)
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


def show(name, metric):
    if name.startswith("information"):
        for key, value in metric.compute().items():
            low, high = metric[key].interval(n_samples=500)
            print(f"    {key:<14} {value:.3f} [{low:.3f}, {high:.3f}]")
    elif isinstance(metric, Localization):
        intervals = metric.interval()
        for key, value in metric.compute().items():
            low, high = intervals[key]
            print(f"    {key:<14} {value:.3f} [{low:.3f}, {high:.3f}]")
    else:
        low, high = metric.interval()
        print(f"    {'value':<14} {metric.compute():.3f} [{low:.3f}, {high:.3f}]")


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
    places = defaultdict(Localization)
    rows = json.loads((options.folder / "annotations.json").read_text())["images"]
    for row in tqdm(rows[: options.limit]):
        image, mask, target = read(options.folder, row)
        kind = row["dataset"].split()[0]
        places["centered Gaussian", kind].update(centered_gaussian(*image.shape[2:]), mask)
        for name, method in methods.items():
            credit = method(image.clone(), target).detach()
            places[name, kind].update(credit.abs().sum(1), mask)
            for key, metric in filled[name].items():
                if key != "localization":
                    metric.update(image, credit, target=target)
    for (name, kind), metric in sorted(places.items()):
        print(f"{name}, localization on {kind}, |map|, {len(metric.per_example['f1'])} images")
        show("localization", metric)
    for name, metrics in filled.items():
        for key, metric in metrics.items():
            if key != "localization":
                print(f"{name}, {key}")
                show(key, metric)
    if len(filled) > 1:
        print(compare({name: m["insertion abs_sum"] for name, m in filled.items()}))


if __name__ == "__main__":
    main()
