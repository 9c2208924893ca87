"""The picture of the page on evidence: means and intervals by method."""

from __future__ import annotations

from pathlib import Path

from evidence_scores import BETTER
from matplotlib.figure import Figure

SHOWN = ("insertion blur", "insertion black", "deletion blur", "roc_auc")


def draw(found: dict, file: Path) -> None:
    """A panel for each score, a row for each method, a color for each network."""
    methods = list(dict.fromkeys(m for own in found.values() for m in own["means"]))
    height = 0.12 + 0.07 * len(found)
    figure = Figure(figsize=(12, height * len(methods) + 1.2), layout="constrained")
    panels = figure.subplots(1, len(SHOWN), sharey=True)
    for panel, score in zip(panels, SHOWN, strict=True):
        for row in range(0, len(methods), 2):
            panel.axhspan(row - 0.5, row + 0.5, color="black", alpha=0.05, linewidth=0)
        for k, (name, own) in enumerate(found.items()):
            shift = 0.8 * ((k + 0.5) / len(found) - 0.5)
            one_network(panel, own["means"], methods, score, shift, f"{name}, n = {own['n']}")
        better = "right" if BETTER[score] > 0 else "left"
        panel.set_title(f"{score}: better to the {better}", fontsize=10)
        panel.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(methods)), methods)
    panels[0].set_ylim(len(methods) - 0.5, -0.5)
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(file, dpi=80)


def one_network(
    panel, means: dict, methods: list[str], score: str, shift: float, label: str
) -> None:
    known = [(k, means[m][score]) for k, m in enumerate(methods) if score in means.get(m, {})]
    if not known:
        return
    middle = [v["mean"] for _, v in known]
    sides = [[v["mean"] - (v["mean"] if v[side] is None else v[side]) for _, v in known]
             for side in ("low", "high")]  # fmt: skip
    lengths = [sides[0], [-s for s in sides[1]]]
    panel.errorbar(middle, [k + shift for k, _ in known], xerr=lengths, fmt="o", ms=4, label=label)
