"""What a page with a slider holds of an image and of its maps, as JSON can keep it."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from captum_ext._text import printable
from captum_ext.curve import Curve, Ranking, rank
from captum_ext.curve.frames import even_counts
from captum_ext.viz.overlays import overlay

ORDERS = {"": "sum", "_abs": "abs_sum"}
"""By the suffix of a curve's name, how pixels are ranked."""
CURVES = ("insertion", "deletion")


@dataclass(frozen=True)
class Played:
    """One method's map of an image and what the model answered along it.

    Args:
        label: the method's name.
        attributions: (C, H, W).
        curves: of one example, "insertion" and "deletion", also with "_abs" for pixels that are
            ranked by absolute values; all with the same number of steps.
        least: as of `heat`.
        of: the class that is explained, where the maps of a page are of several.

    >>> Played("IG", torch.rand(3, 2, 2), {}).label
    'IG'
    """

    label: str
    attributions: Tensor
    curves: Mapping[str, Curve]
    least: float = 0.0
    of: str = ""


def suffixes_of(curves: Sequence[Mapping[str, Any]]) -> list[str]:
    """The orders of which every map has both curves.

    >>> suffixes_of([{"insertion": 1, "deletion": 2, "insertion_abs": 3}])
    ['']
    """
    return [s for s in ORDERS if all(f"{c}{s}" in one for one in curves for c in CURVES)]


def held_image(image: Tensor, absent: Mapping[str, Tensor]) -> dict[str, Any]:
    """The picture, and what is shown where its pixels are hidden.

    Args:
        image: (C, H, W) in [0, 1], of 1 or 3 channels.
        absent: by the names of ``CURVES``; a curve that is not there has insertion's.
    """
    return {
        "height": image.shape[1],
        "width": image.shape[2],
        "image": _address(image.permute(1, 2, 0), "PNG"),
        "absent": {name: _address(x.permute(1, 2, 0), "PNG") for name, x in absent.items()},
    }


def held_map(
    one: Played, image: Tensor, suffixes: Sequence[str], seed: int, style: str = "pixels"
) -> dict[str, Any]:
    """A map as the page's script reads it, and as it is drawn over its image."""
    curves = {f"{c}{s}": one.curves[f"{c}{s}"] for s in suffixes for c in CURVES}
    over = overlay(image, one.attributions, least=one.least, style=style)
    (steps,) = {curve.y.shape[1] - 1 for curve in curves.values()}
    return {
        "label": printable(one.label),
        "of": printable(one.of),
        "steps": steps,
        "overlay": _address(over, "JPEG"),
        "orders": {s: _steps(one.attributions, ORDERS[s], steps, seed) for s in suffixes},
        "curves": {
            name: {
                "x": [round(x, 6) for x in curve.x[0].tolist()],
                "y": [round(y, 6) for y in curve.y[0].tolist()],
                "area": round(float(curve.area()[0]), 4),
            }
            for name, curve in curves.items()
        },
    }


def steps_of(attributions: Tensor, reduction: str, n_steps: int, seed: int) -> Tensor:
    """At which step of the curve each pixel comes or goes, from 1, (H * W,)."""
    # Where the metric ranked: sums on another device may tie where these do not.
    ranking: Ranking = rank((attributions[None],), reduction=reduction, seed=seed)
    counts = even_counts(ranking.n_features.cpu(), n_steps)[0]
    return torch.searchsorted(counts, ranking.positions[0].cpu().flatten(), right=True)


def _steps(attributions: Tensor, reduction: str, n_steps: int, seed: int) -> str:
    """The same, a byte each (two if there are many), compressed."""
    steps = steps_of(attributions, reduction, n_steps, seed)
    wide = torch.uint8 if n_steps < 256 else torch.int16
    return base64.b64encode(zlib.compress(steps.to(wide).numpy().tobytes(), 9)).decode()


def _address(pixels: Any, kind: str) -> str:
    """A picture (H, W, channels) in [0, 1] as an address that holds it."""
    array = torch.as_tensor(pixels).detach().float().clamp(0, 1).mul(255).round().byte().cpu()
    buffer = io.BytesIO()
    # Of interest to JPEG alone, which shows maps: frames are made of pixels that are kept whole.
    Image.fromarray(array.squeeze(-1).numpy()).save(buffer, kind, quality=90)
    content = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{content}"
