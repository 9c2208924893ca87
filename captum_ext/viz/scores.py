"""Pictures of an evaluation: scores with intervals, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from captum_ext._text import pictured
from captum_ext.curve import Curve
from captum_ext.viz.maps import color

_PER_ROW = 4


def curve_figure(
    curves: Mapping[str, Mapping[str, Curve]],
    axes_labels: Mapping[str, tuple[str, str]],
    names: Mapping[str, str],
) -> Figure:
    """The mean curve of every method, one picture per metric that has curves.

    Args:
        curves: by metric and method, of one row each.
        axes_labels: by metric what x and y are.
        names: how methods are called, all of them, in the order of their colors.
    """
    panels = [(metric, by_method) for metric, by_method in curves.items() if by_method]
    figure, axes = _panels(len(panels), 4.4, 3.6)
    colors = _colors(names)
    for ax, (metric, by_method) in zip(axes, panels, strict=True):
        for method, curve in by_method.items():
            x, y = curve.x[0].cpu().tolist(), curve.y[0].cpu().tolist()
            ax.plot(x, y, color=colors[method], linewidth=1.4, label=pictured(names[method]))
        x_label, y_label = axes_labels[metric]
        ax.set(title=pictured(metric), xlabel=x_label, ylabel=y_label)
        ax.grid(alpha=0.25)
    handles = axes[0].get_legend_handles_labels() if axes else ([], [])
    if handles[0]:
        figure.legend(*handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def score_figure(
    columns: Mapping[str, Sequence[tuple[str, float, float, float]]], names: Mapping[str, str]
) -> Figure:
    """Every score with its interval, one picture per column, the best method on top.

    Args:
        columns: by title a method, the low end, the value and the high end, best first.
        names: as of `curve_figure`.
    """
    figure, axes = _panels(len(columns), 4.0, 0.9 + 0.24 * len(names))
    colors = _colors(names)
    for ax, (title, rows) in zip(axes, columns.items(), strict=True):
        for k, (method, low, value, high) in enumerate(reversed(rows)):
            ax.plot([low, high], [k, k], color=colors[method], linewidth=2)
            ax.plot([value], [k], "o", color=colors[method], markersize=5)
        labels = [pictured(names[method]) for method, *_ in reversed(rows)]
        ax.set_yticks(range(len(rows)), labels, fontsize=8)
        ax.set_title(pictured(title), fontsize=10)
        ax.grid(axis="x", alpha=0.25)
        ax.tick_params(axis="x", labelsize=8)
        # Values that differ in the fifth digit alone have labels as wide as a quarter of the axis.
        ax.locator_params(axis="x", nbins=4)
        ax.set_ylim(-0.5, len(rows) - 0.5)
    return figure


def level_figure(
    shares: Mapping[str, Mapping[str, Sequence[float]]], names: Mapping[str, str]
) -> Figure:
    """The share of frames at each level of information, one picture for each measure of it.

    Args:
        shares: by measure and method, the least level first.
        names: as of `curve_figure`.
    """
    figure, axes = _panels(len(shares), 4.4, 3.2)
    colors = _colors(names)
    for ax, (measure, by_method) in zip(axes, shares.items(), strict=True):
        for method, own in by_method.items():
            edges = [k / len(own) for k in range(len(own) + 1)]
            ax.stairs(
                own, edges, color=colors[method], linewidth=1.4, label=pictured(names[method])
            )
        ax.set(title=pictured(measure), xlim=(0, 1), ylabel="share of frames")
        ax.set_xlabel("share of the whole image's information")
        ax.grid(alpha=0.25)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def arrow(higher_is_better: bool | None) -> str:
    """Which way is better, as a sign behind a column's name.

    >>> arrow(True), arrow(None)
    (' ↑', '')
    """
    return "" if higher_is_better is None else " ↑" if higher_is_better else " ↓"


def _colors(names: Mapping[str, str]) -> dict[str, Any]:
    return {method: color(k) for k, method in enumerate(names)}


def _panels(n: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    columns = min(_PER_ROW, max(1, n))
    rows = -(-max(1, n) // columns)
    size = (width * columns, height * rows + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for unused in axes[n:]:
        unused.set_axis_off()
    return figure, axes[:n]
