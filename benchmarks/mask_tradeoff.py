"""What an optimized mask is worth for what it costs: scores along the iterations.

One run of each setting and seed gives a whole curve: a shorter run is the start of a longer one.
Deletion and insertion as the published `metric` means them: the probability of the model's class,
the blurred reference, 15 cells of the 28 x 28 mask a step, enlarged bilinearly, right-hand sums.

    python benchmarks/mask_tradeoff.py [FOLDER] [--methods iGOS++] [--settings search3] [--seeds 5]
        [--limit 8] [--average 5] [--reference scores.json] [--json results.json]
        [--earlier results.json ...] [--figure tradeoff.png]

FOLDER holds images (default: photographs of scikit-image). `--reference` adds the published code's
scores: a list "mask_methods" of rows with method, mask_size, deletion, insertion and
forward_equivalents. Costs are forward passes per image, a gradient counted as three.
`--average N` also scores the mean of all seeds' masks after N iterations, at their summed cost.
`--earlier` adds the rows that other runs wrote with `--json`; with `--seeds 0` nothing else.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from skimage import data
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import to_tensor

from captum_ext import ImageClassifier
from captum_ext.attr import IGOS, IGOSPlus, IGOSPlusPlus, MaskAttribution
from captum_ext.mask import Backtracking, adam, blurred
from captum_ext.mask.advanced import MaskState, StepResult

METHODS = {"I-GOS": IGOS, "iGOS+": IGOSPlus, "iGOS++": IGOSPlusPlus}
STEPS: dict[str, Callable[[], Any]] = {"search": Backtracking, "adam": lambda: adam(0.1)}


class Watched:
    """A step that keeps the masks after some of its iterations."""

    def __init__(self, step: Any, checkpoints: tuple[int, ...], n: int) -> None:
        self.step, self.start, self.checkpoints, self.n = step, step.start, checkpoints, n
        self.iteration, self.masks = 0, {}

    def __call__(self, here: MaskState, *rest: Any) -> StepResult:
        move = self.step(here, *rest)
        self.iteration += 1
        if self.iteration in self.checkpoints and len(move.masks) == self.n:
            self.masks[self.iteration] = move.masks.clone()
        return move


def photographs(folder: Path | None, transform: Any, limit: int | None) -> Tensor:
    if folder is None:
        pictures = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
        images = [Image.fromarray(p) for p in pictures]
    else:
        endings = {".png", ".jpg", ".jpeg"}
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in endings)
        images = [Image.open(p).convert("RGB") for p in files if not p.stem.endswith("_mask")]
    # What has the network's size already is left alone.
    ready = [to_tensor(i) if i.size == (224, 224) else transform(i) for i in images[:limit]]
    return torch.stack(ready)


@torch.no_grad()
def scores(
    model: ImageClassifier, images: Tensor, target: Tensor, mask: Tensor, step: int = 15
) -> Tensor:
    """Deletion and insertion of masks (N, 1, h, w) in which low is salient, shape (2, N)."""
    reference = (blurred(images) * 255).round() / 255
    order = mask.flatten(1).argsort(dim=1, stable=True)
    cells, found, last = order.shape[1], torch.zeros(2, len(images)), 0
    for k in [*range(step, cells, step), cells]:
        kept = torch.ones_like(order, dtype=images.dtype).scatter(1, order[:, :k], 0.0)
        kept = F.interpolate(
            kept.view_as(mask), images.shape[-2:], mode="bilinear", align_corners=True
        )
        for row, (top, bottom) in enumerate(((images, reference), (reference, images))):
            seen = model(bottom + kept * (top - bottom)).gather(1, target[:, None])[:, 0]
            found[row] += seen * (k - last) / cells
        last = k
    return found


def scored(
    method: MaskAttribution, mask: Tensor, images: Tensor, target: Tensor
) -> dict[str, list[float]]:
    """Deletion and insertion of each image's square mask (N, cells)."""
    side = round(mask.shape[1] ** 0.5)
    found = scores(method.forward_func, images, target, mask.view(-1, 1, side, side))
    return dict(zip(("deletion", "insertion"), found.tolist(), strict=True))


def curve(
    method: MaskAttribution,
    setting: str,
    checkpoints: tuple[int, ...],
    images: Tensor,
    target: Tensor,
    seed: int,
) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """Rows of one run, with cost and scores of each image at each checkpoint, and the masks."""
    rule, n_steps = setting.rstrip("0123456789"), int(setting.lstrip("abcdefghijklmnopqrstuvwxyz"))
    method.step = Watched(STEPS[rule](), checkpoints, len(images))
    run = method.optimize(
        images, target=target, seed=seed, n_iter=max(checkpoints), n_steps=n_steps
    ).descent
    products = [masks.prod(1) for masks in method.step.masks.values()]
    rows = [
        {
            "iterations": iteration,
            "cost": run.forwards[iteration - 1].double().mean().item(),
            **scored(method, product, images, target),
        }
        for iteration, product in zip(method.step.masks, products, strict=True)
    ]
    return rows, products


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--settings", default="search3,search5,adam3", help="step and n_steps")
    parser.add_argument("--iterations", default="5,10,20", help="after which masks are scored")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--mask-size", type=int, default=28)
    parser.add_argument("--noise", type=float, default=0.2)
    parser.add_argument("--average", type=int, help="iterations of the runs that are averaged")
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--earlier", type=Path, nargs="*", default=[])
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    model = ImageClassifier.from_efficientnet_lite0().to(memory_format=torch.channels_last)
    images = photographs(arguments.folder, model.transform, arguments.limit)
    with torch.no_grad():
        target = model(images).argmax(1)
    checkpoints = tuple(int(i) for i in arguments.iterations.split(","))
    rows: list[dict[str, Any]] = []
    sums: dict[tuple[str, str], tuple[Tensor, float]] = {}

    def add(name: str, setting: str, seed: int, row: dict[str, Any]) -> None:
        rows.append({"method": name, "setting": setting, "seed": seed, **row})
        means = [torch.tensor(row[k]).mean().item() for k in ("deletion", "insertion")]
        print(
            f"{name:7} {setting:16} seed {seed} iteration {row['iterations']:3} cost "
            f"{row['cost']:6.0f} deletion {means[0]:.3f} insertion {means[1]:.3f} "
            f"({time.time() - start:.0f} s)",
            flush=True,
        )

    for seed in range(arguments.seeds):
        for name in arguments.methods.split(","):
            for setting in arguments.settings.split(","):
                start = time.time()
                method = METHODS[name](model, arguments.mask_size, noise_std=arguments.noise)
                for row, product in zip(
                    *curve(method, setting, checkpoints, images, target, seed), strict=True
                ):
                    add(name, setting, seed, row)
                    if row["iterations"] == arguments.average:
                        total, cost = sums.get((name, setting), (0.0, 0.0))
                        sums[name, setting] = total + product, cost + row["cost"]
                if seed and arguments.average:
                    total, cost = sums[name, setting]
                    mean = scored(method, total, images, target)
                    row = {"iterations": arguments.average * (seed + 1), "cost": cost, **mean}
                    add(name, f"{setting} averaged", seed, row)
                if arguments.json:
                    arguments.json.write_text(json.dumps(rows))
    for file in arguments.earlier:
        rows += json.loads(file.read_text())
    published = []
    if arguments.reference:
        published = json.loads(arguments.reference.read_text())["mask_methods"]
        published = [p for p in published if p["mask_size"] == arguments.mask_size]
    report(rows, published)
    if arguments.figure:
        draw(rows, published, arguments.figure)


def summary(rows: list, published: list) -> dict[str, dict[str, list]]:
    """By method and setting: points (cost, deletion, insertion, spread of an image over seeds)."""
    found: dict[str, dict[str, list]] = {}
    for name in dict.fromkeys(r["method"] for r in rows):
        settings = found.setdefault(name, {})
        reference = [p for p in published if p["method"] == name]
        if reference:
            keys = ("forward_equivalents", "deletion", "insertion")
            mean = [sum(p[k] for p in reference) / len(reference) for k in keys]
            settings["published code"] = [(*mean, float("nan"))]
        chosen = [r for r in rows if r["method"] == name]
        for setting in dict.fromkeys(r["setting"] for r in chosen):
            for n in sorted({r["iterations"] for r in chosen if r["setting"] == setting}):
                same = [r for r in chosen if r["setting"] == setting and r["iterations"] == n]
                deletion, insertion = (
                    torch.tensor([r[k] for r in same]) for k in ("deletion", "insertion")
                )
                cost = sum(r["cost"] for r in same) / len(same)
                spread = insertion.std(0).mean().item() if len(same) > 1 else float("nan")
                settings.setdefault(setting, []).append(
                    (cost, deletion.mean().item(), insertion.mean().item(), spread)
                )
    return found


def report(rows: list, published: list) -> None:
    print(f"\n{'method':8}{'setting':16}{'cost':>8}{'deletion':>10}{'insertion':>10}{'seed sd':>9}")
    for name, settings in summary(rows, published).items():
        for setting, points in settings.items():
            for cost, deletion, insertion, spread in points:
                print(
                    f"{name:8}{setting:16}{cost:8.0f}{deletion:10.3f}{insertion:10.3f}{spread:9.3f}"
                )


def draw(rows: list, published: list, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found = summary(rows, published)
    names = dict.fromkeys(s for settings in found.values() for s in settings)
    colors = {
        name: "black" if name == "published code" else f"C{i}" for i, name in enumerate(names)
    }
    figure, axes = plt.subplots(
        2, len(found), figsize=(4 * len(found), 6), sharex=True, sharey="row", squeeze=False
    )
    for column, (name, settings) in enumerate(found.items()):
        for row, label in enumerate(("deletion (lower is better)", "insertion (higher is better)")):
            axis = axes[row, column]
            for setting, points in settings.items():
                axis.plot(
                    [p[0] for p in points],
                    [p[row + 1] for p in points],
                    "*" if setting == "published code" else "o-",
                    color=colors[setting],
                )
            axis.set_xscale("log")
            axis.grid(alpha=0.3)
            if column == 0:
                axis.set_ylabel(label)
        axes[0, column].set_title(name)
        axes[1, column].set_xlabel("forward passes per image, a gradient as three")
    lines = [
        plt.Line2D([], [], marker="*" if n == "published code" else "o", color=colors[n], label=n)
        for n in names
    ]
    figure.legend(handles=lines, fontsize=8, ncols=6, loc="lower center")
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(file, dpi=90)


if __name__ == "__main__":
    main()
