"""iGOS++ that begins at another method's map, beside iGOS++ as it is and the map itself.

Photographs whose class the network knows, in two halves, each other one of the folder: one half to
choose depth, iterations, and how much of the start's map the result keeps; the other to report.
Maps are scored by insertion and deletion in 20 steps; costs are counted at the model, a forward
pass of an image as one and one with a gradient as three. Rows are kept, and a run goes on from
them.

    python benchmarks/mask_start.py FOLDER --json rows.jsonl --half choose [--network lite0]
        [--settings "iGOS++" "Grad-CAM .5" ...] [--limit N] [--quick]

FOLDER as in metrics_on_photographs.py. A setting is a method, or a start and its depth, of which
every number of `--iterations` is scored, and its mean with the start's map.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from captum.attr import IntegratedGradients
from common import correct, photographs
from rules import SIDES, classifier, scores
from scipy import stats
from torch import Tensor
from tqdm import tqdm

from captum_ext import ImageClassifier
from captum_ext.attr import AlignedContribution, Configured, GradCam, IGOSPlusPlus, Start
from captum_ext.mask import Backtracking
from captum_ext.mask.advanced import StepResult
from captum_ext.path import EqualRise

STARTS: dict[str, Callable[[Any], Any]] = {
    "Grad-CAM": GradCam,
    "aligned": lambda m: Configured(
        AlignedContribution(IntegratedGradients(m), EqualRise()), n_steps=16
    ),
}
HALVES = ("choose", "report")


class Watched:
    """A step that keeps the masks before and after each iteration."""

    def __init__(self) -> None:
        self.step, self.masks = Backtracking(), []

    def start(self, masks: Tensor) -> Any:
        self.masks.append(masks)
        return self.step.start(masks)

    def __call__(self, *given: Any) -> StepResult:
        move = self.step(*given)
        self.masks.append(move.masks)
        return move


@contextmanager
def counted(model: ImageClassifier) -> Iterator[list[int]]:
    """How many forward passes the model makes, those with a gradient as three."""
    count = [0]

    def add(_: Any, given: tuple[Tensor, ...]) -> None:
        with_gradient = torch.is_grad_enabled() and given[0].requires_grad
        count[0] += len(given[0]) * (3 if with_gradient else 1)

    hook = model.register_forward_pre_hook(add)
    try:
        yield count
    finally:
        hook.remove()


def found(
    model: ImageClassifier, image: Tensor, target: int, setting: str, iterations: list[int]
) -> Iterator[tuple[str, Tensor, int]]:
    """Names, maps (1, 1, H, W) and costs of one setting."""
    name, _, depth = setting.partition(" ")
    with counted(model) as cost:
        if not depth and name in STARTS:
            yield name, STARTS[name](model).attribute(image, target=target)[:, :1], cost[0]
            return
        if not depth:
            method = IGOSPlusPlus(model, mask_size=min(28, image.shape[-1]))
            yield name, method.attribute(image, target=target)[:, :1], cost[0]
            return
        watched = Watched()
        method = IGOSPlusPlus(
            model,
            mask_size=min(28, image.shape[-1]),
            step=watched,
            start=Start(STARTS[name](model), depth=float(depth)),
        )
        run = method.optimize(image, target=target, n_iter=max(iterations)).descent
    before = cost[0] - int(run.forwards[-1, 0])
    kept = [enlarged(method, masks, image) for masks in watched.masks]
    start = (1 - method.grid.enlarge(watched.masks[0][:, 0], (image,))[0]) / float(depth)
    for i in iterations:
        done = min(i, len(run.forwards))
        total = before + int(run.forwards[done - 1, 0])
        yield f"{setting}, {i}", kept[done], total
        yield f"{setting}, {i}, mean", (kept[done] + start) / 2, total


def enlarged(method: IGOSPlusPlus, masks: Tensor, image: Tensor) -> Tensor:
    """1 - the product of the masks at the image's size."""
    first, second = (method.grid.enlarge(masks[:, k], (image,))[0] for k in range(2))
    return 1 - first * second


def measure(options: argparse.Namespace, model: ImageClassifier) -> list[dict]:
    file = options.json
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(row["network"], row["photograph"], row["setting"]) for row in rows}
    pictures = photographs(options.folder)[HALVES.index(options.half) :: len(HALVES)]
    if options.quick:
        pictures = [(name, image[..., ::8, ::8], None) for name, image, _ in pictures]
    known = 0
    for name, image, label in tqdm(pictures):
        target = correct(model, image, label)
        if target is None or known == options.limit:
            continue
        known += 1
        for setting in options.settings:
            if (options.network, name, setting) in done:
                continue
            maps = [
                {"name": key, "cost": cost, **scores(model, image, credit, target)}
                for key, credit, cost in found(model, image, target, setting, options.iterations)
            ]
            row = {"network": options.network, "half": options.half, "photograph": name}
            rows.append({**row, "setting": setting, "maps": maps})
            with file.open("a") as lines:
                lines.write(json.dumps(rows[-1]) + "\n")
    return [r for r in rows if (r["network"], r["half"]) == (options.network, options.half)]


def table(rows: list[dict]) -> list[str]:
    """Means, 95 % intervals of the differences to Grad-CAM, and n, of the common photographs."""
    by_name: dict[str, dict[str, dict]] = defaultdict(dict)
    for row in rows:
        for entry in row["maps"]:
            by_name[entry["name"]][row["photograph"]] = entry
    common = sorted(set.intersection(*(set(of) for of in by_name.values())))
    lines = [f"n = {len(common)}; in brackets: difference to Grad-CAM, 95 %"]
    for name, of in by_name.items():
        cells = [f"{name:26} {sum(of[p]['cost'] for p in common) / len(common):5.0f}"]
        for score in ("insertion blur", "insertion black", "deletion blur"):
            own = torch.tensor([of[p][score] for p in common])
            cells.append(
                f"{score} {float(own.mean()):.3f} {difference(own, by_name, common, score)}"
            )
        lines.append("  ".join(cells))
    return lines


def difference(own: Tensor, by_name: dict, common: list[str], score: str) -> str:
    if "Grad-CAM" not in by_name or len(common) < 2:
        return ""
    gap = own - torch.tensor([by_name["Grad-CAM"][p][score] for p in common])
    half = stats.t.ppf(0.975, len(common) - 1) * float(gap.std()) / len(common) ** 0.5
    return f"[{float(gap.mean()) - half:+.3f}, {float(gap.mean()) + half:+.3f}]"


def main(words: list[str] | None = None, model: ImageClassifier | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--half", choices=HALVES, required=True)
    parser.add_argument("--network", choices=SIDES, default="lite0")
    parser.add_argument("--settings", nargs="+", default=["Grad-CAM", "Grad-CAM .5", "Grad-CAM .8"])
    parser.add_argument("--iterations", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--limit", type=int)
    parser.add_argument("--quick", action="store_true", help="small pictures")
    options = parser.parse_args(words)
    print("\n".join(table(measure(options, model or classifier(options.network)))))


if __name__ == "__main__":
    main()
