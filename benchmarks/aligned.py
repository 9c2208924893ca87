"""Aligned contributions beside IG and IDGI from every baseline, on every network, and carried over.

For each image whose class the maker knows: maps of three rules over the straight line from black,
the image's mean color, the blurred image and uniform noise (three draws, whose scores are averaged)
and over the blur path, all rules of a path from one walk in equal rises of the score; the aligned
map from the blurred image smoothed, in square cells, and by its signed sums; Grad-CAM and a random
map. Each is scored by insertion and deletion under two references and, where a region is known, by
ROC AUC, F1 and MAE, some by AIC and SIC; then by a judge, a network that did not make it and knows
the class too.

    python benchmarks/aligned.py [FOLDER] --keep KEPT --pairs lite1:lite2 resnet-0:vit-0 ...
        [--weights WEIGHTS] [--limit N] [--json aligned.json] [--quick]

Makers and judges are lite0 to lite2, of photographs in FOLDER as in metrics_on_photographs.py, and
trained.py's networks with the seed of their training, of digits among clutter; WEIGHTS keeps those.
Rows are kept, and a run goes on from them. Prints tables of means with 95 % intervals of paired
differences to Grad-CAM; --json keeps what it has of other pairs.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import correct
from evidence import annotated, digits
from evidence_claims import Verdict, interval
from evidence_measure import BLUR, Example
from evidence_scores import BETTER, cleaned, curves, information, located
from rules import SIDES, classifier
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur
from tqdm import tqdm

from captum_ext.attr import GradCam, PathAttribution, walk
from captum_ext.metrics.sanity.impostors import RandomMap
from captum_ext.path import (
    BlurPath,
    EqualRise,
    StraightLine,
    aligned_contribution,
    important_direction,
    trapezoid,
)

RULES = {"IG": trapezoid, "IDGI": important_direction, "aligned": aligned_contribution}
DRAWS = 3
"""Of a baseline that is noise."""
BEST = "aligned, blurred"
SCALES = (2, 4, 8)
"""Pixels: of a Gaussian's deviation, and of a cell's side."""
INFORMED = (
    *(f"{rule}, {start}" for start in ("black", "blurred", "blur path") for rule in RULES),
    "Grad-CAM",
)
"""Maps that AIC and SIC are asked of, which cost as much as 100 forward passes of Lite0."""
CARRIED = (
    *(f"{rule}, {start}" for start in ("black", "blurred") for rule in RULES),
    *(f"{BEST}, {n} px" for n in SCALES),
    "Grad-CAM",
    "random",
)
"""Maps that a judge is asked about."""
Scores = dict[str, float | None]
Networks = Callable[[str, Path | None], nn.Module]


def baselines(image: Tensor) -> dict[str, list[Tensor | None]]:
    """Where lines begin."""
    draws = [torch.Generator().manual_seed(k) for k in range(DRAWS)]
    return {
        "black": [None],
        "mean": [image.mean((2, 3), keepdim=True).expand_as(image)],
        "blurred": [BLUR(image)],
        "uniform": [torch.rand(image.shape, generator=g) for g in draws],
    }


def maps_of(model: nn.Module, image: Tensor, target: int, n: int) -> dict[str, list[Tensor]]:
    """Maps, (1, C or 1, H, W), by name; several where a baseline was drawn several times."""
    found: dict[str, list[Tensor]] = defaultdict(list)
    lines = [(name, StraightLine(), s) for name, many in baselines(image).items() for s in many]
    for name, path, start in [*lines, ("blur path", BlurPath(50.0), None)]:
        methods = [PathAttribution(model, path, rule, EqualRise()) for rule in RULES.values()]
        for rule, credit in zip(RULES, walk(methods, image, start, target, n_steps=n), strict=True):
            found[f"{rule}, {name}"].append(credit)
    found |= {name: [credit] for name, credit in coarser(found[BEST][0]).items()}
    found["Grad-CAM"] = [GradCam(model).attribute(image, target=target)]
    found["random"] = [RandomMap().attribute(image)]
    return {name: [credit.detach() for credit in many] for name, many in found.items()}


def coarser(credit: Tensor) -> dict[str, Tensor]:
    """A map of absolute sums at coarser scales, and of sums with their sign, as it is ranked."""
    pixels, side = credit.abs().sum(1, keepdim=True), credit.shape[-1]
    signed = credit.sum(1, keepdim=True)
    # Ranked by absolute values, as all are: the least sum becomes 0.
    found = {f"{BEST}, signed": signed - signed.min()}
    for n in SCALES:
        found[f"{BEST}, {n} px"] = gaussian_blur(pixels, 4 * n + 1, float(n))
        pooled = functional.avg_pool2d(pixels, n, ceil_mode=True, count_include_pad=False)
        grown = pooled.repeat_interleave(n, 2).repeat_interleave(n, 3)
        found[f"{BEST}, cells of {n}"] = grown[..., :side, :side]
    return found


def scored(
    model: nn.Module, example: Example, maps: dict[str, list[Tensor]], target: int, n: int
) -> dict[str, Scores]:
    return {
        name: mean([scores(model, example, name, credit, target, n) for credit in many])
        for name, many in maps.items()
    }


def scores(
    model: nn.Module, example: Example, name: str, credit: Tensor, target: int, n: int
) -> Scores:
    credit = credit.expand_as(example.image)
    found = curves(model, example.image, credit, target, n)
    if name in INFORMED:
        found |= information(model, example.image, credit, target)
    if example.region is not None:
        found |= located(credit, example.region)
    return cleaned(found)


def mean(draws: list[Scores]) -> Scores:
    """Over draws of a baseline; a score that one of them lacks is none."""
    columns = {key: [draw[key] for draw in draws] for key in draws[0]}
    return {
        key: None if None in values else sum(v for v in values if v is not None) / len(values)
        for key, values in columns.items()
    }


def network(name: str, weights: Path | None) -> nn.Module:
    if name in SIDES:
        return classifier(name)
    import trained

    kind, seed = name.split("-")
    return trained.classifier(kind, weights or Path("weights"), int(seed))


def measure(pair: str, options: argparse.Namespace, of: Networks) -> list[dict[str, Any]]:
    """A row for each of the first images that the maker knows; what is kept is read."""
    maker, judge = (of(name, options.weights) for name in pair.split(":"))
    file = options.keep / f"{pair.replace(':', '-judged-by-')}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done, known = {row["pixels"] for row in rows}, 0
    examples = annotated(options.folder) if pair.startswith("lite") else digits()
    if options.quick:
        examples = [Example(e.name, e.image[..., ::8, ::8]) for e in examples]
    steps, points = (2, 2) if options.quick else (options.steps, 20)
    for example in tqdm(examples, desc=pair):
        target = correct(maker, example.image, example.label)
        if target is None or known == options.limit:
            continue
        known += 1
        if example.digest in done:
            continue
        maps = maps_of(maker, example.image, target, steps)
        row = {"image": example.name, "pixels": example.digest}
        row["own"] = scored(maker, example, maps, target, points)
        if correct(judge, example.image, target) is not None:
            carried = {name: maps[name] for name in CARRIED}
            row["judge"] = scored(judge, example, carried, target, points)
        rows.append(row)
        with file.open("a") as kept:
            kept.write(json.dumps(row) + "\n")
    return rows


def summary(rows: list[dict[str, Any]], whose: str) -> dict[str, dict[str, dict[str, Any]]]:
    """By method and score: the mean, n, and how far it is ahead of Grad-CAM."""
    told = [row[whose] for row in rows if whose in row]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in told[0] if told else ():
        found[name] = {}
        for score in told[0][name]:
            both = [(row[name][score], row["Grad-CAM"][score]) for row in told]
            pairs = [(a, b) for a, b in both if a is not None and b is not None]
            if pairs:
                average = sum(a for a, _ in pairs) / len(pairs)
                ahead = interval([BETTER[score] * (a - b) for a, b in pairs])
                found[name][score] = {"mean": round(average, 4), **kept(ahead)}
    return found


def kept(ahead: Verdict) -> dict[str, Any]:
    return {"n": ahead.n, "ahead": [round(x, 4) for x in (ahead.mean, ahead.low, ahead.high)]}


SHOWN = ("insertion blur", "insertion black", "deletion blur", "AIC", "roc_auc")


def table(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """In Markdown; brackets hold the interval of how far a method is ahead of Grad-CAM."""
    lines = [f"| | {' | '.join(SHOWN)} |", "|---" * (1 + len(SHOWN)) + "|"]
    for name, own in found.items():
        cells = [cell(own[score]) if score in own else "" for score in SHOWN]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(own: dict[str, Any]) -> str:
    _, low, high = own["ahead"]
    return f"{own['mean']:.2f} [{low:+.2f}, {high:+.2f}]"


def main(words: list[str] | None = None, of: Networks = network) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--pairs", nargs="+", required=True, help="MAKER:JUDGE")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="small images, few steps")
    options = parser.parse_args(words)
    for pair in options.pairs:
        rows = measure(pair, options, of)
        found = {whose: summary(rows, whose) for whose in ("own", "judge")}
        for whose, own in found.items():
            print(f"\n{pair}, {whose}, n = {sum(whose in row for row in rows)}\n{table(own)}")
        if options.json:
            held = json.loads(options.json.read_text()) if options.json.exists() else {}
            # A method a line, so that a change can be read.
            text = json.dumps(held | {pair: found}).replace("}}, ", "}},\n")
            options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
