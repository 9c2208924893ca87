"""Pictures of an evaluation: scores with intervals, and curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib import colormaps
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from captum_ext.evaluation.result import Evaluation

_PER_ROW = 4


def colors_of(methods: tuple[str, ...]) -> dict[str, Any]:
    """A color for each method, the same in every picture.

    >>> colors_of(("a", "b"))["a"] == colors_of(("a",))["a"]
    True
    """
    palette = colormaps["tab20"].colors  # type: ignore[attr-defined]
    # The strong tones first, then the light ones.
    order = [*range(0, 20, 2), *range(1, 20, 2)]
    return {m: palette[order[k % 20]] for k, m in enumerate(methods)}


def curve_figure(found: Evaluation, labels: Mapping[str, str] | None = None) -> Figure:
    """The mean curve of every method, one picture per metric that has curves."""
    names = {m: (labels or {}).get(m, m) for m in found.methods}
    panels = [(name, curves) for name, curves in found.curves.items() if curves]
    figure, axes = _panels(len(panels), 4.4, 3.6)
    colors = colors_of(found.methods)
    for ax, (name, curves) in zip(axes, panels, strict=True):
        for method, curve in curves.items():
            x, y = curve.x[0].cpu().tolist(), curve.y[0].cpu().tolist()
            ax.plot(x, y, color=colors[method], linewidth=1.4, label=names[method])
        metric: Any = found.metrics[name][next(iter(curves))]
        x_label, y_label = metric._labels() if hasattr(metric, "_labels") else ("x", "y")
        ax.set(title=name, xlabel=x_label, ylabel=y_label)
        ax.grid(alpha=0.25)
    handles = axes[0].get_legend_handles_labels() if axes else ([], [])
    if handles[0]:
        figure.legend(*handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def score_figure(found: Evaluation, labels: Mapping[str, str] | None = None) -> Figure:
    """Every score with its 95 % interval, one picture per column, the best method on top."""
    names = {m: (labels or {}).get(m, m) for m in found.methods}
    figure, axes = _panels(len(found.columns), 4.0, 0.9 + 0.24 * len(found.methods))
    colors = colors_of(found.methods)
    for ax, column in zip(axes, found.columns, strict=True):
        rows = ranked(found, column)[::-1]
        for k, row in enumerate(rows):
            low, value, high = row[f"{column}_low"], row[column], row[f"{column}_high"]
            ax.plot([low, high], [k, k], color=colors[row["method"]], linewidth=2)
            ax.plot([value], [k], "o", color=colors[row["method"]], markersize=5)
        ax.set_yticks(range(len(rows)), [names[row["method"]] for row in rows], fontsize=8)
        ax.set_title(f"{column}{arrow(found.better(column))}", fontsize=10)
        ax.grid(axis="x", alpha=0.25)
        ax.tick_params(axis="x", labelsize=8)
    return figure


def ranked(found: Evaluation, column: str) -> list[dict[str, Any]]:
    """The table's records, best first, those without a value last."""
    known = [row for row in found.records if row[column] == row[column]]
    unknown = [row for row in found.records if row[column] != row[column]]
    lower_is_better = found.better(column) is False
    return sorted(known, key=lambda row: row[column], reverse=not lower_is_better) + unknown


def arrow(higher_is_better: bool | None) -> str:
    """Which way is better, as a sign behind a column's name.

    >>> arrow(True), arrow(None)
    (' ↑', '')
    """
    return "" if higher_is_better is None else " ↑" if higher_is_better else " ↓"


def _panels(n: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    columns = min(_PER_ROW, max(1, n))
    rows = -(-max(1, n) // columns)
    size = (width * columns, height * rows + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for unused in axes[n:]:
        unused.set_axis_off()
    return figure, axes[:n]
