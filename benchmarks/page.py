"""The page on performance, made from what was measured: its text has no number of its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

INTRODUCTION = """# What it costs

How often a method asks the model decides what it costs, so evaluations come first: forward passes
and gradients an image. *Beside the model* is the processor time divided by that of the same calls
of the bare model: what the package adds. *Beside it* is a peer's time divided by this package's,
for the same maps or scores. All runs of a row take turns in one process on one thread; numbers are
medians of {repeats} ratios with the least and the largest. A gradient is counted to the input,
though Grad-CAM needs less of it and may stay below 1. Made by `python benchmarks/run.py` with
EfficientNet-Lite0 and {versions}.
"""
HEADS = {
    "methods": ("Methods", "{images} random images of {side} x {side}, {steps} steps on paths, "
                "{masks} masks of RISE, 1 iteration of optimized masks."),
    "metrics": ("Metrics", "{images} random images of {side} x {side}; PAIR's protocol one "
                "photograph, randomization 1 image."),
}  # fmt: skip
GROWTH = """## Growth

Seconds of processor time grow with what the model is asked; the ratio to the bare model and the
memory above it say what the package adds. Memory is the most that was resident above the loaded
model, in MB, beside that of the largest call of the bare model alone. Rows with memory and those
without are of two days, between which the machine's clock differed up to threefold: seconds compare
within one of them, ratios everywhere.
"""


def write_page(found: dict[str, Any], file: Path) -> None:
    """Writes the page of a run of `run.py`."""
    rows = list(found["rows"].values())
    versions = ", ".join(f"{name} {number}" for name, number in found["about"].items())
    repeats = sorted({row["repeats"] for row in rows})
    told = "-".join(map(str, dict.fromkeys([repeats[0], repeats[-1]])))
    parts = [INTRODUCTION.format(repeats=told, versions=versions)]
    for table, (title, words) in HEADS.items():
        of_it = [row for row in rows if row["table"] == table]
        if of_it:
            about = words.format(**of_it[0], masks=8 * of_it[0]["steps"])
            parts.append(f"## {title}\n\n{about}\n\n{table_of(of_it)}\n")
    growth = [row for row in rows if row["table"] == "growth"]
    if growth:
        parts.append(f"{GROWTH}\n{growth_of(growth)}\n")
    file.write_text("\n".join(parts))


def table_of(rows: Iterable[dict[str, Any]], head: bool = True) -> str:
    """A table of ratios: a line for each row, and one for each of its peers."""
    lines = ["| | evaluations | beside the model | beside it |", "|---|---|---|---|"] * head
    for row in rows:
        cells = row["name"], _evaluations(row), _ratio(row.get("ratio")), ""
        lines.append(_line(cells))
        for name, peer in row["peers"].items():
            if "failed" in peer:
                lines.append(_line((f"- {name}", "", "", f"fails: {peer['failed']}")))
            else:
                cells = f"- {name}", _evaluations(peer), "", _ratio(peer["ratio"])
                lines.append(_line(cells))
    return "\n".join(lines)


def growth_of(rows: list[dict[str, Any]]) -> str:
    """A table of what grows with images, sides and steps."""
    lines = [
        "| | images | side | steps | seconds | beside the model | memory, MB | of one call, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        memory = (f"{row[key]:.0f}" if key in row else "" for key in ("peak", "bare_peak"))
        cells = row["name"], row["images"], row["side"], row["steps"], f"{row['seconds']:.2f}"
        lines.append(_line((*cells, _ratio(row.get("ratio")), *memory)))
    return "\n".join(lines)


def _line(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _evaluations(row: dict[str, Any]) -> str:
    counts = ((row["forward"], "forward"), (row["gradient"], "gradients"))
    return ", ".join(f"{n:.4g} {kind}" for n, kind in counts if n) or "none"


def _ratio(found: dict[str, float] | None) -> str:
    if found is None:
        return ""
    digits = 2 if found["median"] < 10 else 0
    return "{median:.{d}f} ({low:.{d}f}-{high:.{d}f})".format(**found, d=digits)
