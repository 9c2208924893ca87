"""Images and maps that the page shows: the best, the worst, and those that differ most."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.figure import Figure

from captum_ext.evaluation.result import Evaluation
from captum_ext.viz.thumbnails import tinted

_SHOWN = 4


def extremes(found: Evaluation, names: Mapping[str, str], column: str) -> list[dict[str, Any]]:
    """The best and worst images of each method, with its maps."""
    sign = -1 if column in found.columns and found.better(column) is False else 1
    rows = []
    for method, values in found.values.get(column, {}).items():
        if method in found.impostors:
            continue
        known = torch.nonzero(~values.isnan()).flatten()
        order = known[(sign * values[known]).argsort(descending=True, stable=True)].tolist()
        n = min(_SHOWN, len(order) // 2)
        if n:
            best, worst = (
                [_example(found, k) | _maps(found, k, method, column) for k in some]
                for some in (order[:n], order[-n:])
            )
            rows.append({"name": names[method], "best": best, "worst": worst})
    return rows


def side_by_side(found: Evaluation, column: str) -> list[dict[str, Any]]:
    """A few images under every method: those on which methods differ most."""
    if column not in found.values or len(found.methods) - len(found.impostors) < 2:
        return []
    by_method = found.values[column]
    values = torch.stack([v for m, v in by_method.items() if m not in found.impostors])
    spread = values.nan_to_num(0).amax(0) - values.nan_to_num(1).amin(0)
    chosen = spread.argsort(descending=True, stable=True)[:_SHOWN].tolist()
    return [
        _example(found, k) | {"cells": [_maps(found, k, m, column) for m in found.methods]}
        for k in chosen
    ]


def _example(found: Evaluation, k: int) -> dict[str, str]:
    position = found.kept[k].position
    return {
        "name": found.name_of(position),
        "target": "; ".join(filter(None, _called(found, k))),
        "picture": address(found.picture_of(position)),
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
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return address(buffer.getvalue())


def address(content: bytes | None) -> str:
    """A picture as the address of itself; none has none."""
    if content is None:
        return ""
    kind = "jpeg" if content[:2] == b"\xff\xd8" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
