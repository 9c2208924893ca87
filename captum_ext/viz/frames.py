"""`frames_figure` and `write_frames`: what the model saw along insertion and deletion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from captum_ext._text import printable
from captum_ext.curve.codec import to_bytes
from captum_ext.viz.player.held import CURVES, ORDERS, Played, steps_of

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Of the pixels: what a strip shows, as far as the curve has it."""


def frames_figure(
    image: Tensor, absent: Tensor, maps: Sequence[Played], heading: str, seed: int = 0
) -> Figure:
    """A strip per method: the frames of insertion and deletion that were asked, with the score.

    Pixels come and go by absolute values where such curves are given, else by signed sums.

    Args:
        image: (C, H, W) in [0, 1], of 1 or 3 channels.
        absent: what is shown where pixels are hidden, of the image's shape.
        maps: of the methods, in order; their curves have the same steps.
        heading: what is explained.
        seed: of the order among equal pixels, as of the curves.

    >>> from captum_ext.curve import Curve
    >>> line = Curve(torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[0.1, 0.4, 0.8]]))
    >>> one = Played("IG", torch.rand(3, 8, 8), {"insertion": line, "deletion": line})
    >>> figure = frames_figure(torch.rand(3, 8, 8), torch.zeros(3, 8, 8), [one], "cat")
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['0 %\\n0.10', '50 %\\n0.40', '100 %\\n0.80']
    """
    steps = _steps_shown(maps[0])
    rows = [
        (one, curve, comes) for one in maps for comes in [_comes(one, seed)] for curve in CURVES
    ]
    size = (1.25 * len(steps) + 1.2, 1.6 * len(rows) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(printable(heading), fontsize=9)
    grid = figure.subplots(len(rows), len(steps), squeeze=False)
    for axes, (one, name, comes) in zip(grid, rows, strict=True):
        pictures = _frames(image, absent, comes, name, steps)
        for place, (axis, picture, k) in enumerate(zip(axes, pictures, steps, strict=True)):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
            axis.set_xticks([], [])
            axis.set_yticks([], [])
            axis.set_title(_told(one, name, k), fontsize=7)
            if place == 0:
                axis.set_ylabel(f"{_label(one)}\n{name}", fontsize=7)
    return figure


def write_frames(
    file: str | Path,
    image: Tensor,
    absent: Tensor,
    maps: Sequence[Played],
    heading: str,
    seed: int = 0,
    comment: str = "",
) -> None:
    """Writes an animated GIF of every frame that was asked, all methods side by side.

    Args:
        file: where to.
        image, absent, maps, heading, seed: as of `frames_figure`.
        comment: kept in the file.

    Raises:
        OSError: if the file can't be written.
    """
    pictures = [*_moments(image, absent, maps, heading, seed)]
    # One palette for all, so that colors don't flicker.
    first = pictures[-1].quantize(255, dither=Image.Dither.NONE)
    drawn = [picture.quantize(palette=first, dither=Image.Dither.NONE) for picture in pictures]
    drawn[0].save(
        file, "GIF", save_all=True, append_images=drawn[1:], loop=0, comment=comment.encode(),
        # The ends stay longer: there is more to compare.
        duration=[1500, *[300] * (len(pictures) - 2), 1500][: len(pictures)],
    )  # fmt: skip


def _moments(
    image: Tensor, absent: Tensor, maps: Sequence[Played], heading: str, seed: int
) -> Iterator[Image.Image]:
    """The moments of the animation, drawn into one figure whose layout is found once."""
    figure = Figure(figsize=(1.5 * len(maps) + 0.4, 3.9), dpi=100, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    figure.suptitle(printable(heading), fontsize=8)
    grid = figure.subplots(len(CURVES), len(maps), squeeze=False)
    steps = range(maps[0].curves[f"insertion{_suffix(maps[0])}"].y.shape[1])
    comes = [_comes(one, seed) for one in maps]
    cells = []
    for axes, name in zip(grid, CURVES, strict=True):
        for axis, one, own in zip(axes, maps, comes, strict=True):
            axis.set_axis_off()
            pictures = [*_frames(image, absent, own, name, steps)]
            shown = axis.imshow(pictures[0], cmap="gray", vmin=0, vmax=255)
            label = _label(one) + "\n" if name == CURVES[0] else ""
            titles = [f"{label}{name} {_told(one, name, k, ': ')}" for k in steps]
            title = axis.set_title(titles[0], fontsize=6)
            cells.append((shown, pictures, title, titles))
    for k in steps:
        for shown, pictures, title, titles in cells:
            shown.set_data(pictures[k])
            title.set_text(titles[k])
        canvas.draw()
        figure.set_layout_engine("none")
        yield Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _label(one: Played) -> str:
    return printable(f"{one.label}\n{one.of}" if one.of else one.label)


def _comes(one: Played, seed: int) -> Tensor:
    """At which step each pixel comes or goes, (H, W), alike in both curves."""
    n_steps = one.curves[f"{CURVES[0]}{_suffix(one)}"].y.shape[1] - 1
    steps = steps_of(one.attributions, ORDERS[_suffix(one)], n_steps, seed)
    return steps.view(one.attributions.shape[1:])


def _frames(
    image: Tensor, absent: Tensor, comes: Tensor, curve: str, steps: Sequence[int]
) -> Iterator[np.ndarray]:
    """Frames, (H, W, 3) or gray (H, W), of uint8, at these steps of a curve."""
    for k in steps:
        strongest = comes <= k
        shown = strongest if curve == "insertion" else ~strongest
        (pixels,) = to_bytes(torch.where(shown, image.cpu(), absent.cpu())[None])
        # matplotlib takes gray pictures without a channel.
        yield pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _suffix(one: Played) -> str:
    return "_abs" if all(f"{curve}_abs" in one.curves for curve in CURVES) else ""


def _steps_shown(one: Played) -> list[int]:
    """The steps nearest to the shares of a strip, each once."""
    x = one.curves[f"insertion{_suffix(one)}"].x[0]
    return sorted({int((x - share).abs().argmin()) for share in SHARES})


def _told(one: Played, name: str, k: int, between: str = "\n") -> str:
    curve = one.curves[f"{name}{_suffix(one)}"]
    return f"{float(curve.x[0, k]):.0%}".replace("%", " %") + f"{between}{float(curve.y[0, k]):.2f}"
