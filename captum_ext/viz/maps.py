"""Pictures of one image's maps and curves."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from captum_ext._text import pictured
from captum_ext.curve import Curve
from captum_ext.maps import PERCENTILE
from captum_ext.mask.advanced import Descent
from captum_ext.viz.overlays import MAP_COLORS, drawn_as, heat, overlay

_PER_ROW = 6
# So few maps have their overlays beside them: below them half of the figure would be empty.
_FEW = 2
_SCALE = (
    "Maps: sum of absolute values over channels, each map on its own scale, from black (its least "
    f"value) over red to pale yellow (its {PERCENTILE:g}th percentile and above)."
)
_ROUNDING = float(np.finfo(np.float32).eps)


def color(k: int) -> Any:
    """The color of the k-th method, the same in every picture: strong tones first, then light.

    >>> color(0) == color(20) != color(10)
    True
    """
    palette = colormaps["tab20"].colors  # type: ignore[attr-defined]
    return palette[2 * k % 20 + k // 10 % 2]


def least_credit(score: float, n_features: int) -> float:
    """The least credit of one feature that says more than the rounding of the score.

    Were it every feature's, they would add up to float32's rounding error of the score: a map
    that is nowhere larger does not even explain the score's last digit.

    >>> round(least_credit(0.5, 3 * 224 * 224) * 1e13, 2)
    3.96
    """
    return abs(score) * _ROUNDING / max(1, n_features)


@dataclass(frozen=True)
class Explained:
    """One method's map of an image, (C, H, W), and its curves by name.

    Args:
        label: the method's name.
        attributions: the map; None if there is none.
        curves: "insertion_abs" and "deletion_abs", where they are known.
        least: a map without a larger value is drawn as no evidence, see `heat`.
        problem: why there is no map.

    >>> Explained("IG", None, {}, problem="no gradient").problem
    'no gradient'
    """

    label: str
    attributions: Tensor | None
    curves: dict[str, Curve]
    least: float = 0.0
    problem: str | None = None


def draw_curves(
    axes: Any, curves: Sequence[Curve], labels: Sequence[str], title: str, bounded: bool = True
) -> None:
    """Draws curves of one example each into axes, the legend says their areas.

    ``bounded`` curves are within [0, 1], as probabilities are.

    >>> import torch
    >>> axes = Figure().subplots()
    >>> draw_curves(axes, [Curve(torch.tensor([[0.0, 1]]), torch.tensor([[0.0, 1]]))], ["IG"], "")
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['IG 0.50']
    """
    for k, (curve, label) in enumerate(zip(curves, labels, strict=True)):
        area = float(curve.area()[0])
        axes.plot(curve.x[0].cpu(), curve.y[0].cpu(), color=color(k),
                  label=f"{pictured(label)} {area:.2f}")  # fmt: skip
    axes.set(xlabel="share of pixels", xlim=(0, 1))
    axes.set_title(title, fontsize=10, pad=9)
    if bounded:
        axes.set_ylim(0, 1)
    # Beside the curves, which cross any place inside.
    if curves:
        axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def explanation_figure(
    image: Tensor,
    predictions: Sequence[tuple[str, float]],
    rows: Sequence[Explained],
    target: str,
    reading: str,
    answers: str = "probability",
    style: str = "pixels",
) -> Figure:
    """The photograph with its predictions, every map twice, and the curves of all methods.

    Args:
        image: (C, H, W) in [0, 1].
        predictions: names and probabilities of the top classes, best first.
        rows: one entry per method, with curves "insertion_abs" and "deletion_abs".
        target: the name of the class that is explained.
        reading: how the curves were made, in a few words.
        answers: what the model's numbers are; all but "probability" are drawn as far as they go.
        style: how maps lie over the image, as of `overlay`; the caption says it.

    >>> import torch
    >>> level = Curve(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]]))
    >>> curves = {"insertion_abs": level, "deletion_abs": level}
    >>> row = Explained("IG", torch.rand(3, 8, 8), curves)
    >>> figure = explanation_figure(torch.rand(3, 8, 8), [("cat", 0.9)], [row], "cat", "black")
    >>> figure.get_suptitle()
    'Why cat?'
    """
    more = (reading, answers, style)
    return explanations_figure(image, predictions, [(target, rows)], *more)


def explanations_figure(
    image: Tensor,
    predictions: Sequence[tuple[str, float]],
    classes: Sequence[tuple[str, Sequence[Explained]]],
    reading: str,
    answers: str = "probability",
    style: str = "pixels",
) -> Figure:
    """`explanation_figure` of several classes of a photograph, one below the other.

    Args:
        image, predictions, reading, answers, style: as of `explanation_figure`.
        classes: the name of each, with a row per method.

    >>> import torch
    >>> classes = [(name, [Explained("IG", torch.rand(3, 8, 8), {})]) for name in ("cat", "dog")]
    >>> figure = explanations_figure(torch.rand(3, 8, 8), [("cat", 0.9)], classes, "black")
    >>> [part.get_suptitle() for part in figure.subfigs]
    ['Why cat?', 'Why dog?']
    """
    n = max(len(rows) for _, rows in classes)
    columns, heights = _layout(n)
    width, height = 2.5 * columns, sum(heights) * len(classes)
    figure = Figure(figsize=(width, height), layout="constrained")
    whole: Any = [figure] if len(classes) == 1 else figure.subfigures(len(classes), 1)
    drawn = any(row.attributions is not None for _, rows in classes for row in rows)
    for k, (part, (target, rows)) in enumerate(zip(whole, classes, strict=True)):
        scale = _scale(style, image, width) if drawn and k == len(classes) - 1 else ""
        _draw(part, image, predictions, rows, target, reading, answers, style, scale)
    return figure


def _layout(n: int) -> tuple[int, list[float]]:
    """Columns of pictures, and how high the head and each band of ``n`` maps are, in inches."""
    if n <= _FEW:
        return 4, [3.2, 2.9]
    columns = min(_PER_ROW, max(4, n))
    return columns, [3.2, *[5.2] * -(-n // columns)]


def _scale(style: str, image: Tensor, width: float) -> str:
    """What colors mean, in lines."""
    # 13 letters an inch at this size; what is wider would be cut.
    said = f"{_SCALE} {drawn_as(style, *image.shape[1:])}"
    return "\n".join(textwrap.wrap(said, int(13 * width)))


def _draw(
    figure: Any,
    image: Tensor,
    predictions: Sequence[tuple[str, float]],
    rows: Sequence[Explained],
    target: str,
    reading: str,
    answers: str,
    style: str,
    scale: str,
) -> None:
    """One class into a figure, or a part of one."""
    columns, heights = _layout(len(rows))
    figure.suptitle(f"Why {pictured(target)}?", fontsize=14)
    cut = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)
    head, *parts = cut[:, 0]
    photo, bars, insertion, deletion = head.subplots(1, 4, width_ratios=[1, 0.8, 1.4, 1.4])
    _show(photo, image.detach().cpu().permute(1, 2, 0).clamp(0, 1).numpy(), "input")
    bounded = answers == "probability"
    _draw_predictions(bars, predictions, bounded)
    for axes, name in ((insertion, "insertion"), (deletion, "deletion")):
        read = [row for row in rows if f"{name}_abs" in row.curves]
        draw_curves(
            axes,
            [row.curves[f"{name}_abs"] for row in read],
            [row.label for row in read],
            f"{name}\n({reading})",
            bounded,
        )
    insertion.set_ylabel(f"{answers} of {pictured(target, 20)}", fontsize=8)
    if scale:
        parts[-1].supxlabel(scale, fontsize=9)
    for band, part in enumerate(parts):
        shown = rows[band * columns : (band + 1) * columns]
        if len(rows) <= _FEW:
            axes = part.subplots(1, columns)
            cells = [*zip(axes[::2], axes[1::2], strict=True)]
        else:
            cells = [*zip(*part.subplots(2, columns), strict=True)]
        for k, (alone, over) in enumerate(cells):
            if k < len(shown):
                _draw_map(alone, over, image, shown[k], style)
            else:
                alone.set_axis_off()
                over.set_axis_off()


def _draw_map(alone: Any, over: Any, image: Tensor, row: Explained, style: str) -> None:
    """A map alone and over the image, or in words why there is nothing to see."""
    title = pictured(row.label)
    if row.attributions is None:
        alone.set_title(title, fontsize=10)
        alone.set_axis_off()
        over.set_axis_off()
        _note(alone, f"no map: {row.problem}")
        return
    picture = heat(row.attributions, least=row.least)
    _show(alone, picture, title, cmap=MAP_COLORS)
    _show(over, overlay(image, row.attributions, least=row.least, style=style), "")
    if not picture.any():
        _note(alone, "no evidence found")


def _note(axes: Any, sentence: str) -> None:
    """Words in the middle of a picture, on white so that they can be read anywhere."""
    lines = textwrap.wrap(pictured(sentence, 160), 26)
    axes.text(
        0.5, 0.5, "\n".join(lines), transform=axes.transAxes, ha="center", va="center", fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85},
    )  # fmt: skip


def _show(axes: Any, picture: Any, title: str, **options: Any) -> None:
    picture = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    axes.imshow(picture, vmin=0, vmax=1, **({"cmap": "gray"} | options))
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


def _draw_predictions(axes: Any, predictions: Sequence[tuple[str, float]], bounded: bool) -> None:
    upwards = predictions[::-1]
    if not bounded:
        # A bar's length would claim a scale.
        lines = [f"{pictured(name, 32)}\n{value:.4g}" for name, value in predictions]
        axes.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", fontsize=9)
        axes.set_title("prediction", fontsize=10)
        axes.set_axis_off()
        return
    # Numbers, as NumPy is about to refuse what matplotlib does with tensors.
    axes.barh(range(len(upwards)), [value for _, value in upwards], color="0.75")
    for k, (name, value) in enumerate(upwards):
        axes.text(0.02, k, f"{pictured(name, 32)} {probability(value)}", va="center", fontsize=8)
    axes.set_title("prediction", fontsize=10)
    axes.set(xlim=(0, 1), yticks=[], xticks=[])
    axes.spines[:].set_visible(False)


def probability(value: float) -> str:
    """A probability in two digits; one that would be "0.00" is said to be small, not none.

    >>> probability(0.987), probability(0.0049), probability(0.0)
    ('0.99', '< 0.005', '0')
    """
    return "0" if value == 0 else "< 0.005" if value < 0.005 else f"{value:.2f}"


def history_figure(descents: Mapping[str, Descent]) -> Figure:
    """How masks were optimized: objective and model evaluations against iterations.

    Args:
        descents: by label; the first example of each is shown.

    >>> import torch
    >>> from captum_ext.attr import IGOS
    >>> igos = IGOS(lambda x: x[:, :, 2:4].mean((1, 2, 3)), mask_size=4, tv_weight=0.1)
    >>> run = igos.optimize(torch.ones(1, 3, 8, 8), baselines=0.0)
    >>> len(history_figure({"I-GOS": run.descent}).axes)
    2
    """
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    objective, forwards = figure.subplots(1, 2)
    for label, descent in descents.items():
        known = ~descent.objective[:, 0].isnan().cpu()
        iterations = known.nonzero()[:, 0] + 1
        objective.plot(iterations, descent.objective[:, 0].cpu()[known], label=pictured(label))
        forwards.plot(iterations, descent.forwards[:, 0].cpu()[known], label=pictured(label))
    objective.set(title="objective", xlabel="iteration", xscale="log")
    forwards.set(title="model evaluations (a gradient: 3)", xlabel="iteration", xscale="log")
    handles = objective.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=5, frameon=False)
    return figure
