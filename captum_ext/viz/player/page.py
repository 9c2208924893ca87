"""`write_player`: one page with a slider over the frames that insertion and deletion asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from torch import Tensor

from captum_ext._text import printable
from captum_ext.viz.overlays import drawn_as
from captum_ext.viz.player.held import Played, held_image, held_map, suffixes_of

_HERE = Path(__file__).parent


def write_player(
    file: str | Path,
    image: Tensor,
    absent: Tensor,
    maps: Sequence[Played],
    heading: str,
    reading: str,
    seed: int = 0,
    notes: Sequence[str] = (),
    style: str = "pixels",
) -> None:
    """Writes a page, whole in one file, that reveals or hides the strongest pixels of all maps.

    Its slider stops at the frames that the curves were read at, pixel for pixel, and shows the
    scores that were read there: nothing is asked anew, and nothing is invented in between.

    Args:
        file: where to.
        image: (C, H, W) in [0, 1], of 1 or 3 channels.
        absent: what is shown where pixels are hidden, of the image's shape.
        maps: of the methods, in order; each with the curves of the same orders. Those of one class
            (`Played.of`) stand one after the other, under its name.
        heading: what is explained.
        reading: in a sentence, how the curves were read.
        seed: of the order among equal pixels, as of the curves.
        notes: sentences below the maps, as on methods that are missing.
        style: how maps lie over the image, as of `overlay`; the page says it.

    Raises:
        ValueError: if there is no curve.
        OSError: if the file can't be written.

    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> from captum_ext.curve import Curve
    >>> line = Curve(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.1, 0.8]]))
    >>> curves = {"insertion": line, "deletion": line}
    >>> image = torch.rand(3, 8, 8)
    >>> with TemporaryDirectory() as folder:
    ...     page = Path(folder) / "figure.html"
    ...     write_player(page, image, image * 0, [Played("IG", image, curves)], "cat", "black")
    ...     page.read_text()[:15]
    '<!doctype html>'
    """
    suffixes = suffixes_of([one.curves for one in maps])
    if not suffixes or not maps:
        raise ValueError("`maps` need curves of insertion and deletion, of the same orders each.")
    held = [held_map(one, image, suffixes, seed, style) for one in maps]
    notes = [*filter(None, [drawn_as(style, *image.shape[1:])]), *notes]
    write_held(file, held_image(image, {"insertion": absent}), held, heading, reading, notes)


def write_held(
    file: str | Path,
    image: Mapping[str, Any],
    maps: Sequence[Mapping[str, Any]],
    heading: str,
    reading: str,
    notes: Sequence[str] = (),
) -> None:
    """`write_player` of what was kept: of `held_image`, and of `held_map` for each method."""
    pages = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    read = [{key: value for key, value in one.items() if key != "overlay"} for one in maps]
    text = pages.get_template("player.html").render(
        heading=printable(heading),
        reading=printable(reading),
        notes=[printable(note) for note in notes],
        groups=[(of, [*own]) for of, own in groupby(maps, lambda one: str(one["of"]))],
        n_steps=maps[0]["steps"],
        orders=[suffix for suffix in ("_abs", "") if suffix in maps[0]["orders"]],
        # Our own files, and JSON of which nothing can end the element that it stands in.
        style=Markup((_HERE / "player.css").read_text(encoding="utf-8")),
        script=Markup((_HERE / "player.js").read_text(encoding="utf-8")),
        held=Markup(json.dumps({**image, "maps": read}).replace("<", "\\u003c")),
    )
    Path(file).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
