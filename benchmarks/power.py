"""How many images a difference between two methods needs: for power .8 at a level of .05.

    python benchmarks/power.py [rows.jsonl]

With rows of `rules.py`: the spread (standard deviation over images) of each method's difference to
Grad-CAM, and the images for differences of .02, .05 and .10 by a two-sided paired t test. Without:
the spreads that follow from the intervals on the pages of aligned contributions and of iGOS++.
Prints the table of docs/choose.md.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import stdev

from scipy import stats

SIZES = (0.02, 0.05, 0.10)
SCORES = ("insertion blur", "insertion black", "deletion blur")
# Half the width of 95 % intervals of differences to Grad-CAM, one a score, and their n.
MEASURED = {
    "aligned from the blurred image": ((0.045, 0.05, 0.02), 61),
    "IDGI over IG": ((0.04, 0.045, 0.02), 61),
    "iGOS++": ((0.0805, 0.0695, 0.027), 20),
    "iGOS++ from Grad-CAM, 4 iterations": ((0.041, 0.04, 0.0205), 20),
}


def spread(half: float, n: int) -> float:
    """The standard deviation of n differences whose 95 % interval is so wide."""
    return half * n**0.5 / float(stats.t.ppf(0.975, n - 1))


def power(difference: float, deviation: float, n: int) -> float:
    """How often a paired t test of n images finds the difference at a level of .05."""
    beyond = stats.t.ppf(0.975, n - 1)
    shift = difference / deviation * n**0.5
    return float(stats.nct.sf(beyond, n - 1, shift))


def needed(difference: float, deviation: float) -> int:
    """The fewest images of power .8."""
    few, many = 2, 4
    while power(difference, deviation, many) < 0.8:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        if power(difference, deviation, middle) < 0.8:
            few = middle
        else:
            many = middle
    return many


def from_rows(file: Path) -> dict[tuple[str, str], float]:
    """Spreads by method and score, from rows of `rules.py`."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in map(json.loads, file.read_text().splitlines()):
        for name, values in row["own"].items():
            for score in SCORES if name != "Grad-CAM" else ():
                found[name, score].append(values[score] - row["own"]["Grad-CAM"][score])
    return {key: stdev(values) for key, values in found.items()}


def from_intervals() -> dict[tuple[str, str], float]:
    return {
        (name, score): spread(half, n)
        for name, (halves, n) in MEASURED.items()
        for score, half in zip(SCORES, halves, strict=True)
    }


def table(spreads: dict[tuple[str, str], float]) -> str:
    """Markdown: a row a method and score."""
    head = " | ".join(f"{size:.2f}".lstrip("0") for size in SIZES)
    lines = [f"| Against Grad-CAM | Score | Spread | {head} |", "|---|---|---|---|---|---|"]
    for (name, score), deviation in spreads.items():
        counts = " | ".join(f"{needed(size, deviation):,}" for size in SIZES)
        lines.append(f"| {name} | {score} | {deviation:.2f} | {counts} |".replace("| 0.", "| ."))
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(from_rows(Path(sys.argv[1])) if sys.argv[1:] else from_intervals()))
