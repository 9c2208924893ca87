"""IDGI's shares at both ends of a step, and Blur IG, at 75 forward passes or less.

The truth is a walk of 96 steps, a third of them even, the others placed where the score changes,
by trapezoids; every other knot of it says how near it is to converged, with about a quarter of
the error. Photographs that chose in placement.py are left out; the others come in a fixed random
order, so that the first ones are a random sample. Fidelity: similarity of placed maps to the
truth. Scores: insertion and deletion of placed maps less those of the truth, and less those of
the papers' rule and equal steps (48 on the line, 96 on the path of Blur IG).

    python benchmarks/two_sided.py [FOLDER] [--network lite0|lite2] [--limit N] [--paths straight]
        [--only fidelity|scores] [--keep DIR] [--part K --parts N] [--json two_sided.json]

What stands in --keep, a folder for one network, is not computed again, and --json keeps what it
has of other networks. Costs are forward passes, a gradient counted as three, with those of probes.
`--quick` tries everything in few steps.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import photographs
from placement import PATHS, Sizes, cosine, network, scores, spearman
from torch import Tensor

from captum_ext import Score
from captum_ext.metrics.base.bootstrap import interval, mean_of
from captum_ext.path import (
    EqualRise,
    FixedPath,
    Knot,
    Placement,
    even,
    important_direction,
    integrate,
    trapezoid,
    two_sided_direction,
)

RULES = {"IG": trapezoid, "IDGI": important_direction, "IDGI, two-sided": two_sided_direction}
PLACED = {"placed, power 0.5": EqualRise(power=0.5), "placed, power 0.75": EqualRise()}
FINEST = EqualRise(n_probes=64, floor=0.3, power=0.75)
COMPARED = {
    "Blur IG": ("blur", "placed, power 0.5", "IG", "IG"),
    "IDGI over IG": ("straight", "placed, power 0.75", "IDGI, two-sided", "IDGI"),
    "IDGI over Blur IG": ("blur", "placed, power 0.5", "IDGI", "IDGI"),
    "IDGI over Blur IG, both ends": ("blur", "placed, power 0.75", "IDGI, two-sided", "IDGI"),
}
"""What gets scores: a path, a placement, its rule, and the rule of the papers' equal steps."""


@dataclass(frozen=True)
class Steps:
    fine: int = 96
    placed: int = 15
    even: tuple[tuple[str, int], ...] = (("straight", 48), ("blur", 96))
    curve: int = 20


QUICK = Steps(16, 4, (("straight", 4), ("blur", 8)), 4)


def knots_of(
    model: Any, image: Tensor, target: int, path: FixedPath, n: int, placement: Placement
) -> list[Knot]:
    score = Score(model, (image,), target, chunk=8)
    with score.borrowed():
        knots = list(path.knots(score, (torch.zeros_like(image),), (image,), n, placement))
        # Asked for now, where the model is borrowed.
        return [Knot(knot.point, knot.value, knot.gradient) for knot in knots]


def maps_of(knots: list[Knot]) -> dict[str, Tensor]:
    """The maps of all rules, (3, H, W)."""
    *found, _, _ = integrate(knots, *RULES.values())
    return {rule: credit[0][0].float() for rule, credit in zip(RULES, found, strict=True)}


def finest(
    file: Path, model: Any, image: Tensor, target: int, path: FixedPath, steps: Steps
) -> dict[str, Any]:
    """The truth, kept: its values, maps, and those of every other knot."""
    if file.exists():
        return torch.load(file, weights_only=True)
    knots = knots_of(model, image, target, path, steps.fine, FINEST)
    values = torch.cat([knot.value for knot in knots])
    found = {"values": values, "maps": maps_of(knots), "halved": maps_of(knots[::2])}
    unfinished = file.with_suffix(".part")
    torch.save(found, unfinished)
    unfinished.replace(file)
    return found


def truth(found: dict[str, Any], rule: str) -> Tensor:
    """The finest map of a rule; both of IDGI approximate one integral."""
    return found["maps"]["IG" if rule == "IG" else "IDGI, two-sided"]


def fidelity(
    model: Any, found: dict[str, Any], image: Tensor, target: int, path: str, steps: Steps
) -> list[dict[str, Any]]:
    """How near placed maps, and those of every other finest knot, are to the truth."""
    told = [("finest, halved", steps.fine // 2, 0, found["halved"])]
    for name, placement in PLACED.items():
        knots = knots_of(model, image, target, PATHS[path], steps.placed, placement)
        told.append((name, steps.placed, placement.n_probes + 1, maps_of(knots)))
    rise = float(found["values"][-1] - found["values"][0])
    return [
        {
            "placement": name, "n": n, "rule": rule, "cost": cost_of(rule, n, probes),
            "cosine": round(cosine(credit, truth(found, rule)), 5),
            "spearman": round(spearman(credit, truth(found, rule)), 5),
            "delta": round(float(credit.double().sum()) - rise, 5),
        }
        for name, n, probes, maps in told
        for rule, credit in maps.items()
    ]  # fmt: skip


def cost_of(rule: str, n_steps: int, probes: int) -> int:
    """Forward passes, a gradient counted as three."""
    gradients = n_steps if rule == "IDGI" else n_steps + 1
    return 3 * gradients + (rule != "IG") + probes


def scored(
    model: Any, found: dict[str, Any], image: Tensor, target: int, path: str, steps: Steps
) -> list[dict[str, Any]]:
    """Insertion and deletion of placed maps, of the truth, and of the papers' equal steps."""
    rows = []
    equal = maps_of(knots_of(model, image, target, PATHS[path], dict(steps.even)[path], even))
    for method, (own, placement, rule, paper) in COMPARED.items():
        if own != path:
            continue
        knots = knots_of(model, image, target, PATHS[path], steps.placed, PLACED[placement])
        maps = {"placed": maps_of(knots)[rule], "finest": truth(found, rule), "equal": equal[paper]}
        sizes = Sizes(curve_steps=steps.curve)
        told = {k: scores(model, image, m[None], target, sizes) for k, m in maps.items()}
        rows.append({"method": method, **told})
    return rows


STAGES = {"fidelity": fidelity, "scores": scored}


def explore(
    model: Any, pictures: list[tuple[str, Tensor]], arguments: argparse.Namespace, steps: Steps
) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Stage, path and rows of each photograph; what a run has found before is read."""
    order = np.random.default_rng(0).permutation(len(pictures)).tolist()
    held = [pictures[k] for k in order if k % 5 != 2][: arguments.limit]
    for stage in arguments.only.split(","):
        for name, image in held[arguments.part :: arguments.parts]:
            for path in arguments.paths.split(","):
                stem = arguments.keep / f"{Path(name).stem}-{path}"
                told = stem.with_suffix(f".{stage}.json")
                if arguments.read_only and not told.exists():
                    continue
                if not told.exists():
                    with torch.no_grad():
                        target = int(model(image).argmax())
                    walk = stem.with_suffix(".pt")
                    found = finest(walk, model, image, target, PATHS[path], steps)
                    rows = STAGES[stage](model, found, image, target, path, steps)
                    told.write_text(json.dumps(rows))
                    print(stage, name, path, f"{time.process_time():.0f} s", flush=True)
                yield stage, path, json.loads(told.read_text())


def summary(found: list[tuple[str, str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Means with 95 % intervals over photographs, and the least."""
    groups: dict[tuple[Any, ...], list[dict[str, float]]] = {}
    for stage, path, rows in found:
        for row in rows:
            if stage == "fidelity":
                numbers = {k: row[k] for k in ("cosine", "spearman")} | {"delta": abs(row["delta"])}
                key = (path, row["placement"], row["n"], row["rule"], row["cost"])
                groups.setdefault((stage, *key), []).append(numbers)
            else:
                for other in ("finest", "equal"):
                    less = {k: row["placed"][k] - row[other][k] for k in row["placed"]}
                    groups.setdefault((stage, row["method"], other), []).append(less)
    told: dict[str, Any] = {"fidelity": [], "scores": []}
    for (stage, *key), rows in groups.items():
        names = ("path", "placement", "n", "rule", "cost") if stage == "fidelity" else (
            "method", "less")  # fmt: skip
        one = dict(zip(names, key, strict=True)) | {"n_photographs": len(rows)}
        for column in rows[0]:
            values = torch.tensor([row[column] for row in rows]).double()
            mean = mean_of(values)
            ends = [round(float(end), 4) for end in interval(mean)]
            one |= {column: round(float(mean.value), 4), f"{column} interval": ends}
            if stage == "fidelity" and column != "delta":
                one[f"least {column}"] = round(float(values.min()), 4)
        told[stage].append(one)
    return told


def main(words: list[str] | None = None, model: Any = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--network", default="lite0", choices=["lite0", "lite2"])
    parser.add_argument("--limit", type=int, help="photographs")
    parser.add_argument("--paths", default=",".join(PATHS))
    parser.add_argument("--only", default=",".join(STAGES))
    parser.add_argument("--part", type=int, default=0, help="this process's share of --parts")
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("two_sided_walks"))
    parser.add_argument("--read-only", action="store_true", help="tell what --keep holds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args(words)
    arguments.keep.mkdir(parents=True, exist_ok=True)
    model = network(arguments.network) if model is None else model
    pictures = [(name, image) for name, image, _ in photographs(arguments.folder)]
    told = summary(list(explore(model, pictures, arguments, QUICK if arguments.quick else Steps())))
    if arguments.json:
        networks = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
        # A row a line, so that a change can be read.
        text = json.dumps(networks | {arguments.network: told})
        for start in ('{"path"', '{"method"'):
            text = text.replace(start, f"\n{start}")
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
