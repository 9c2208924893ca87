"""The scores of `evidence.py`: of one map, and of one image's maps."""

from __future__ import annotations

import copy
import time
from dataclasses import asdict
from math import isnan
from typing import Any

import torch
from evidence_measure import BLUR, PATHS, Example, Settings, all_maps, line_methods, others
from torch import Tensor, nn

from captum_ext.attr import walk
from captum_ext.metrics import deletion_curve, information_metrics, insertion_curve, localization
from captum_ext.metrics.sanity.initializers import matched_normal
from captum_ext.metrics.sanity.randomize import randomize, stages_of
from captum_ext.registry import SIMILARITIES

BETTER = {
    "insertion blur": 1,
    "insertion black": 1,
    "insertion ratio": 1,
    "deletion blur": -1,
    "deletion black": -1,
    "AIC": 1,
    "SIC": 1,
    "AIC, MS-SSIM": 1,
    "SIC, MS-SSIM": 1,
    "roc_auc": 1,
    "f1": 1,
    "mae": -1,
    "sanity": -1,
    "insertion share": 1,
    "deletion share": -1,
}
"""Every score, and 1 where more of it is better, -1 where less is."""


def curves(model: nn.Module, image: Tensor, credit: Tensor, target: int, n: int) -> dict:
    """Insertion and deletion under two references; the ratio of IDGI's paper is under black."""
    found = {}
    for name, base in (("blur", BLUR), ("black", 0.0)):
        how = {"target": target, "n_steps": n, "reduction": "abs_sum", "base": base}
        inserted = insertion_curve(model, image, credit, **how)
        found[f"insertion {name}"] = float(inserted.area())
        if name == "black":
            found["insertion ratio"] = float(inserted.relative().area())
        found[f"deletion {name}"] = float(deletion_curve(model, image, credit, **how).area())
    return found


def information(
    model: nn.Module, image: Tensor, credit: Tensor, target: int, level: str = "entropy"
) -> dict:
    """AIC and SIC as PAIR defines them for one image, by size of the compressed image."""
    metrics = information_metrics(model, (level,), preset="xrai", reduction="abs_sum")
    metrics.update(image, credit, target=target)
    return {k.split("_")[0].upper(): float(m.per_example) for k, m in metrics.items()}


def located(credit: Tensor, region: Tensor) -> dict[str, float]:
    found = localization(credit, region, reduction="abs_sum")
    return {name: float(found[name]) for name in ("roc_auc", "f1", "mae")}


def randomized(model: nn.Module) -> nn.Module:
    """A copy of the model whose last layer is drawn anew."""
    twin = copy.deepcopy(model)
    last = [name for name, module in twin.named_modules() if isinstance(module, nn.Linear)][-1]
    order = [name for name, _ in twin.named_modules()]
    stage = next(s for s in stages_of(twin, order) if s.name == last)
    randomize(twin, stage, seed=0, initialize=matched_normal)
    return twin


def sanity(model: nn.Module, example: Example, maps: dict, target: int, how: Settings) -> dict:
    """Rank correlation of absolute maps before and after the last layer is drawn anew.

    Of what is cheap: IG and IDGI over it, the gradient and Grad-CAM; one draw.
    """
    twin, image = randomized(model), example.image
    line = line_methods(twin)
    walked = walk([*line.values()], image, target=target, n_steps=how.steps)
    after = dict(zip(line, walked, strict=True))
    for name in ("gradient", "Grad-CAM", "edges"):
        after[name] = others(twin, image.shape[-1], how)[name](image, target).detach()
    alike = SIMILARITIES["abs_spearman"]
    return {name: float(alike(maps[name], after[name])) for name in after}


def measured(model: nn.Module, example: Example, target: int, how: Settings) -> dict[str, Any]:
    """The row of one image."""
    image, maps, seconds = example.image, {}, {}
    for some, name, cost in all_maps(model, image, target, how):
        maps |= some
        seconds[name] = round(cost, 2)
    start = time.process_time()
    scores = {k: scored(model, example, k, m, target, how) for k, m in maps.items()}
    seconds["scores"] = round(time.process_time() - start, 2)
    for name, value in sanity(model, example, maps, target, how).items():
        scores[name]["sanity"] = value
    with torch.no_grad():
        probability = float(model(image)[0, target])
    row = {
        "image": example.name,
        "pixels": example.digest,
        "target": target,
        "probability": probability,
    }
    return {**row, "settings": asdict(how), "seconds": seconds, "scores": scores}


def scored(
    model: nn.Module, example: Example, name: str, credit: Tensor, target: int, how: Settings
) -> dict[str, float | None]:
    """The scores of one map; None where one is undefined."""
    credit = credit.detach().expand_as(example.image)
    found = curves(model, example.image, credit, target, how.curve_steps)
    if name in PATHS:
        found |= information(model, example.image, credit, target)
    if example.region is not None:
        found |= located(credit, example.region)
    return cleaned(found)


def cleaned(found: dict[str, float]) -> dict[str, float | None]:
    """To six places; None where a score is undefined."""
    return {key: None if isnan(value) else round(value, 6) for key, value in found.items()}
