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
                [{**_example(found, k), **_map(found, k, method, values)} for k in some]
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
        {**_example(found, k), "maps": [_map(found, k, m, by_method[m]) for m in found.methods]}
        for k in chosen
    ]


def _example(found: Evaluation, k: int) -> dict[str, str]:
    position = found.kept[k].position
    called = [
        f"{found.class_names.get(target, f'class {target}')}"
        + ("" if p is None or found.answers != "probability" else f", p = {p:.2f}")
        for target, p in found.kept[k].pairs
        if target is not None and found.answers == "probability"
    ]
    return {
        "name": found.name_of(position),
        "target": "; ".join(called),
        "picture": address(found.picture_of(position)),
    }


def _map(found: Evaluation, k: int, method: str, values: torch.Tensor) -> dict[str, str]:
    picture = tinted(found.picture_of(found.kept[k].position, method))
    return {"map": address(picture), "value": f"{float(values[k]):.2f}"}


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
