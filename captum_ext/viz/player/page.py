"""`write_player`: one page with a slider over the frames that insertion and deletion asked."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from captum_ext._text import printable
from captum_ext.curve import Curve, Ranking, rank
from captum_ext.curve.frames import even_counts
from captum_ext.viz.maps import overlay

_HERE = Path(__file__).parent
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

    >>> Played("IG", torch.rand(3, 2, 2), {}).label
    'IG'
    """

    label: str
    attributions: Tensor
    curves: Mapping[str, Curve]
    least: float = 0.0


def write_player(
    file: str | Path,
    image: Tensor,
    absent: Tensor,
    maps: Sequence[Played],
    heading: str,
    reading: str,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> None:
    """Writes a page, whole in one file, that reveals or hides the strongest pixels of all maps.

    Its slider stops at the frames that the curves were read at, pixel for pixel, and shows the
    scores that were read there: nothing is asked anew, and nothing is invented in between.

    Args:
        file: where to.
        image: (C, H, W) in [0, 1], of 1 or 3 channels.
        absent: what is shown where pixels are hidden, of the image's shape.
        maps: of the methods, in order; each with the curves of the same orders.
        heading: what is explained.
        reading: in a sentence, how the curves were read.
        seed: of the order among equal pixels, as of the curves.
        notes: sentences below the maps, as on methods that are missing.

    Raises:
        ValueError: if there is no curve.
        OSError: if the file can't be written.

    >>> from tempfile import TemporaryDirectory
    >>> line = Curve(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.1, 0.8]]))
    >>> curves = {"insertion": line, "deletion": line}
    >>> image = torch.rand(3, 8, 8)
    >>> with TemporaryDirectory() as folder:
    ...     page = Path(folder) / "figure.html"
    ...     write_player(page, image, image * 0, [Played("IG", image, curves)], "cat", "black")
    ...     page.read_text()[:15]
    '<!doctype html>'
    """
    suffixes = [s for s in ORDERS if all(f"{c}{s}" in m.curves for m in maps for c in CURVES)]
    if not suffixes or not maps:
        raise ValueError("`maps` need curves of insertion and deletion, of the same orders each.")
    pages = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    held: dict[str, Any] = {
        "height": image.shape[1],
        "width": image.shape[2],
        "image": _png(image.permute(1, 2, 0)),
        "absent": _png(absent.permute(1, 2, 0)),
        "maps": [_held(one, suffixes, seed) for one in maps],
    }
    text = pages.get_template("player.html").render(
        heading=printable(heading),
        reading=printable(reading),
        notes=[printable(note) for note in notes],
        labels=[printable(one.label) for one in maps],
        overlays=[_png(overlay(image, m.attributions, least=m.least)) for m in maps],
        n_steps=held["maps"][0]["steps"],
        orders=[suffix for suffix in ("_abs", "") if suffix in suffixes],
        # Our own files, and JSON of which nothing can end the element that it stands in.
        style=Markup((_HERE / "player.css").read_text(encoding="utf-8")),
        script=Markup((_HERE / "player.js").read_text(encoding="utf-8")),
        held=Markup(json.dumps(held).replace("<", "\\u003c")),
    )
    Path(file).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _held(one: Played, suffixes: Sequence[str], seed: int) -> dict[str, Any]:
    """A map as the page's script reads it."""
    curves = {f"{c}{s}": one.curves[f"{c}{s}"] for s in suffixes for c in CURVES}
    (steps,) = {curve.y.shape[1] - 1 for curve in curves.values()}
    return {
        "label": printable(one.label),
        "steps": steps,
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
    ranking: Ranking = rank((attributions.cpu()[None],), reduction=reduction, seed=seed)
    counts = even_counts(ranking.n_features, n_steps)[0]
    return torch.searchsorted(counts, ranking.positions[0].flatten(), right=True)


def _steps(attributions: Tensor, reduction: str, n_steps: int, seed: int) -> str:
    """The same, a byte each."""
    steps = steps_of(attributions, reduction, n_steps, seed)
    wide = torch.uint8 if n_steps < 256 else torch.int16
    return base64.b64encode(steps.to(wide).numpy().tobytes()).decode()


def _png(pixels: Any) -> str:
    """A picture (H, W, channels) in [0, 1] as an address that holds it."""
    array = torch.as_tensor(pixels).detach().float().clamp(0, 1).mul(255).round().byte().cpu()
    buffer = io.BytesIO()
    Image.fromarray(array.squeeze(-1).numpy()).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
