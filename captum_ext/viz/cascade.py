"""Pictures of the parameter randomization test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from captum_ext._text import pictured
from captum_ext.viz.maps import color
from captum_ext.viz.overlays import MAP_COLORS, heat

_CELL = 1.05


@dataclass(frozen=True)
class Cascade:
    """A method's maps of one image while the model is randomized.

    Args:
        label: the method's name.
        stages: names of what is randomized, from the output on.
        maps: the original map and the map after each stage, (1 + stages, C, H, W).
        similarity: by name the mean over images at each stage, and the ends of its interval.
        chance: by name what maps without any relation would have, drawn as a dotted line.
        least: a map without a larger value is drawn as no evidence, see `heat`.

    >>> import torch
    >>> Cascade("IG", ["head"], torch.rand(2, 3, 8, 8), {"ssim": ([0.1], [0.0], [0.2])}).label
    'IG'
    """

    label: str
    stages: Sequence[str]
    maps: Tensor
    similarity: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]]
    chance: Mapping[str, float] = field(default_factory=dict)
    least: float = 0.0


def cascade_figure(image: Tensor | None, rows: Sequence[Cascade]) -> Figure:
    """Rows of methods, columns of stages, and below them similarity against stage.

    Args:
        image: (C, H, W) in [0, 1], shown in front; None shows none.
        rows: one per method, all of the same stages.

    >>> import torch
    >>> row = Cascade("IG", ["head"], torch.rand(2, 3, 8, 8), {"ssim": ([0.1], [0.0], [0.2])})
    >>> len(cascade_figure(torch.rand(3, 8, 8), [row]).subfigs)
    2
    """
    stages, names = rows[0].stages, [*rows[0].similarity]
    width = max(9.0, _CELL * (len(stages) + 2) + 1.2)
    heights = [_CELL * len(rows) + 1.3, 4.2]
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    _draw_maps(top, image, rows)
    axes = bottom.subplots(1, len(names), squeeze=False)[0]
    for ax, name in zip(axes, names, strict=True):
        _draw_similarity(ax, name, rows)
    dotted = "\ndotted: by chance" if any(row.chance for row in rows) else ""
    axes[0].set_ylabel(f"similarity with the original map{dotted}")
    handles = axes[0].get_legend_handles_labels()
    bottom.legend(*handles, loc="outside lower center", ncols=8, frameon=False, fontsize=9)
    return figure


def _draw_maps(part: Any, image: Tensor | None, rows: Sequence[Cascade]) -> None:
    front = [] if image is None else ["image"]
    titles = [*front, "original map", *_shortened(rows[0].stages)]
    axes = part.subplots(len(rows), len(titles), squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        if image is not None:
            photo = image.detach().cpu().clamp(0, 1).permute(1, 2, 0).squeeze(-1).numpy()
            line[0].imshow(photo, cmap="gray")
        for ax, credit in zip(line[len(front) :], row.maps, strict=True):
            shown = heat(credit, least=row.least)
            ax.imshow(shown, cmap=MAP_COLORS, vmin=0, vmax=1)
            if shown.max() == shown.min():
                ax.text(0.5, 0.5, "no evidence", color="w", fontsize=7, transform=ax.transAxes,
                        ha="center", va="center")  # fmt: skip
        for ax in line:
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(pictured(row.label), fontsize=9)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=7.5, rotation=60, ha="left", rotation_mode="anchor")
    part.suptitle("randomized from the output on", fontsize=9)


def _draw_similarity(ax: Any, title: str, rows: Sequence[Cascade]) -> None:
    steps = range(len(rows[0].stages) + 1)
    for k, row in enumerate(rows):
        # The original map equals itself.
        mean, low, high = ([1.0, *values] for values in row.similarity[title])
        ax.plot(steps, mean, color=color(k), marker="o", markersize=2.5, label=pictured(row.label))
        if title in row.chance:
            ax.axhline(row.chance[title], color=color(k), linewidth=0.8, linestyle=":")
        ax.fill_between(steps, low, high, color=color(k), alpha=0.15, linewidth=0)
    ax.axhline(0, color="0.8", linewidth=0.8)
    _name_stages(ax, rows[0].stages)
    ax.set_title(title, fontsize=10)


def draw_stages(
    ax: Any,
    stages: Sequence[str],
    similarity: Mapping[str, Sequence[float]],
    chance: Mapping[str, float],
    order: str,
) -> None:
    """Draws one method's similarities against the stages, dotted what chance would give.

    >>> axes = Figure().subplots()
    >>> draw_stages(axes, ["head"], {"ssim": [0.1]}, {"ssim": 0.0}, "cascading")
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['ssim']
    """
    for k, (name, values) in enumerate(similarity.items()):
        # The original map equals itself.
        ax.plot([1.0, *values], color=color(k), marker="o", markersize=3, label=pictured(name))
        ax.axhline(chance[name], color=color(k), linewidth=0.8, linestyle=":")
    _name_stages(ax, stages)
    ax.set_ylabel("similarity with the original map")
    ax.set_xlabel(f"randomized, {order}")
    # Beside the lines, which cross any place inside.
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def _name_stages(ax: Any, stages: Sequence[str]) -> None:
    names = ["original", *_shortened(stages)]
    ax.set_xticks(range(len(names)), names, fontsize=6, rotation=90)


def _shortened(names: Sequence[str]) -> list[str]:
    """Names without the module that all of them are in, cut to a width."""
    shared = {name.partition(".")[0] for name in names}
    if len(shared) == 1 and all("." in name for name in names):
        names = [name.partition(".")[2] for name in names]
    return [name if len(name) <= 15 else ".." + name[-13:] for name in names]
