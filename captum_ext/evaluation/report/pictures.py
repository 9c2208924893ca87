"""Images and maps that the page shows: the best, the worst, and those that differ most."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.figure import Figure

from captum_ext.evaluation.report.player import SHOWN, best_first, differing
from captum_ext.evaluation.result import Evaluation
from captum_ext.viz.thumbnails import tinted

Pages = Mapping[int, str]
"""By an image's position the address of its own page."""


def shown_positions(found: Evaluation, column: str) -> set[int]:
    """The positions of all images that are shown."""
    chosen = [k for best, worst in _extremes(found, column).values() for k in (*best, *worst)]
    return {found.kept[k].position for k in (*chosen, *_differing(found, column))}


def extremes(
    found: Evaluation, names: Mapping[str, str], column: str, pages: Pages
) -> list[dict[str, Any]]:
    """The best and worst images of each method, with its maps."""
    rows = []
    for method, both in _extremes(found, column).items():
        best, worst = (
            [_example(found, k, pages) | _maps(found, k, method, column) for k in some]
            for some in both
        )
        rows.append({"name": names[method], "best": best, "worst": worst})
    return rows


def _extremes(found: Evaluation, column: str) -> dict[str, tuple[list[int], list[int]]]:
    """By method the places of its best and of its worst images."""
    sign = -1 if column in found.columns and found.better(column) is False else 1
    among = {
        method: best_first(values, sign)
        for method, values in found.values.get(column, {}).items()
        if method not in found.impostors
    }
    n = {method: min(SHOWN, len(order) // 2) for method, order in among.items()}
    return {m: (order[: n[m]], order[-n[m] :]) for m, order in among.items() if n[m]}


def side_by_side(found: Evaluation, column: str, pages: Pages) -> list[dict[str, Any]]:
    """A few images under every method: those on which methods differ most."""
    return [
        _example(found, k, pages) | {"cells": [_maps(found, k, m, column) for m in found.methods]}
        for k in _differing(found, column)
    ]


def _differing(found: Evaluation, column: str) -> list[int]:
    if column not in found.values or len(found.methods) - len(found.impostors) < 2:
        return []
    values = [v for m, v in found.values[column].items() if m not in found.impostors]
    return differing(torch.stack(values))


def _example(found: Evaluation, k: int, pages: Pages) -> dict[str, str]:
    position = found.kept[k].position
    return {
        "name": found.name_of(position),
        "target": "; ".join(filter(None, _called(found, k))),
        "picture": address(found.picture_of(position)),
        "page": pages.get(position, ""),
    }


def _called(found: Evaluation, k: int) -> list[str]:
    """An example's classes with what the model gives them; of scores there are none."""
    return [
        ""
        if target is None or found.answers != "probability"
        else _name_of(found, target) + ("" if p is None else f", p = {p:.2f}")
        for target, p in found.kept[k].pairs
    ]


def _name_of(found: Evaluation, target: int) -> str:
    return found.class_names.get(target, f"class {target}")


def _maps(found: Evaluation, k: int, method: str, column: str) -> dict[str, Any]:
    """The value of an example, and of each of its classes the map, its name and value."""
    pairs = found.kept[k].pairs
    first = sum(len(one.pairs) for one in found.kept[:k])
    values = found.values_by_class[column][method][first : first + len(pairs)].tolist()
    pictures = found.maps_of(found.kept[k].position, method)
    # A method that failed has no map of any class.
    pictures = pictures if len(pictures) == len(pairs) else [None]
    several = len(pictures) > 1
    maps = [
        {
            "map": address(tinted(one)),
            "target": _name_of(found, target) if several and target is not None else "",
            "value": f"{value:.2f}" if several else "",
        }
        for one, (target, _), value in zip(pictures, pairs, values, strict=False)
    ]
    mean = "mean " * several
    return {"maps": maps, "value": f"{mean}{float(found.values[column][method][k]):.2f}"}


def figure_address(figure: Figure) -> str:
    """A figure as the address of itself."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return address(buffer.getvalue())


def address(content: bytes | None) -> str:
    """A picture as the address of itself; none has none."""
    if content is None:
        return ""
    kind = "jpeg" if content[:2] == b"\xff\xd8" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
