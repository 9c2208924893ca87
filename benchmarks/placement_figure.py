"""The picture of placement.py's and two_sided.py's numbers: similarity over cost.

python benchmarks/placement_figure.py [docs/pictures/placement.png]
    [--placement placement.json] [--two-sided two_sided.json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
PICTURE = HERE.parent / "docs" / "pictures" / "placement.png"
TITLES = {
    ("straight", "IG"): "IG", ("straight", "IDGI"): "IDGI over IG",
    ("blur", "IG"): "Blur IG", ("blur", "IDGI"): "IDGI over Blur IG",
}  # fmt: skip
COLORS = {"equal": "C1", "placed": "C0"}
NAMES = {"equal": "equal steps", "placed": "equal rise"}
ENDS = ("IDGI, two-sided", "placed, power 0.75")


def draw(told: dict[str, Any], two_sided: dict[str, Any], file: Path) -> None:
    """Similarity to the finest map over cost: mean and least, placed and equal."""
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), sharey=True)
    for axis, ((path, rule), title) in zip(axes, TITLES.items(), strict=True):
        for placement in COLORS:
            _line(axis, told["report"][path], rule, placement)
        if rule == "IDGI":
            draw_ends(axis, two_sided["lite0"]["fidelity"], path)
        axis.set(title=title, xscale="log", ylim=(-0.05, 1.03), xlabel="forward passes")
        axis.set_xticks([30, 75, 150, 300, 600], ["30", "75", "150", "300", "600"])
        axis.minorticks_off()
        axis.axvline(75, color="0.8", zorder=0)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("cosine to the converged map\nmean (line, star), least (dotted, dash)")
    # Where no line runs.
    axes[1].legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(file, dpi=90)


def draw_ends(axis: Any, rows: list[dict[str, Any]], path: str) -> None:
    """The rule of both ends' shares: a star at its mean, a dash at its least."""
    for row in rows:
        if (row["path"], row["rule"], row["placement"]) == (path, *ENDS):
            axis.plot(row["cost"], row["cosine"], "*", color="C2", ms=11, label="both ends")
            axis.plot(row["cost"], row["least cosine"], "_", color="C2", ms=11, mew=2)


def _line(axis: Any, rows: list[dict[str, Any]], rule: str, placement: str) -> None:
    rows = [row for row in rows if (row["rule"], row["placement"]) == (rule, placement)]
    # Equal steps of the papers' numbers are walked for their seconds alone, by a few.
    most = max(row["n_photographs"] for row in rows)
    rows = sorted((r for r in rows if r["n_photographs"] == most), key=lambda row: row["cost"])
    cost, color = [row["cost"] for row in rows], COLORS[placement]
    means = [row["cosine"] for row in rows]
    axis.plot(cost, means, "o-", color=color, label=NAMES[placement])
    axis.plot(cost, [row["least cosine"] for row in rows], ":", color=color)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figure", nargs="?", type=Path, default=PICTURE)
    parser.add_argument("--placement", type=Path, default=HERE / "placement.json")
    parser.add_argument("--two-sided", type=Path, default=HERE / "two_sided.json")
    arguments = parser.parse_args(words)
    told, ends = (
        json.loads(file.read_text()) for file in (arguments.placement, arguments.two_sided)
    )
    draw(told, ends, arguments.figure)


if __name__ == "__main__":
    main()
