"""A page with a slider for each image that the report shows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from captum_ext._text import number_of
from captum_ext.evaluation.report.player import Player
from captum_ext.evaluation.result import Evaluation
from captum_ext.evaluation.store.folder import ResultFolder
from captum_ext.evaluation.store.rows import Seen
from captum_ext.viz.player.page import write_held

PAGE = r"\d{6,}\.html"
"""How pages are called, by the images' positions."""


def write_pages(
    found: Evaluation, names: Mapping[str, str], folder: Path, positions: Iterable[int]
) -> dict[int, str]:
    """Writes a page for each image of which enough was kept; pages of other images go.

    Args:
        found: the evaluation.
        names: how methods are called, by name.
        folder: where to, made if it is missing; nothing is written over a file of others.
        positions: of the images.

    Returns:
        By position the file's name.

    Raises:
        ForeignFileError: if a file of the user's stands where a page would.
        OSError: if one can't be written.
    """
    player = Player.of({name: next(iter(each.values())) for name, each in found.metrics.items()})
    own, written = ResultFolder(folder), {}
    for position in sorted(positions) if player else []:
        image, maps = found.pieces.get((position, "")), _maps(found, names, position)
        if image is not None and maps:
            assert player is not None, "asked for above"
            written[position] = f"{position:06d}.html"
            notes = _missing(found, names, position)
            heading = f"Why {_heading(found, position)}?"
            with own.write(written[position]) as file:
                write_held(file, json.loads(image.held), maps, heading, player.reading, notes)
    for file in folder.glob("*.html"):
        if file.name not in written.values():
            own.remove(file.name)
    return written


def _maps(found: Evaluation, names: Mapping[str, str], position: int) -> list[dict[str, Any]]:
    """The maps as they are shown: class by class every method's."""
    pairs = _example(found, position).pairs
    kept = {
        m: json.loads(one.held) for m in found.methods if (one := found.pieces.get((position, m)))
    }
    several = len(pairs) > 1
    return [
        {**held[k], "label": names[m], "of": _called(found, pair) if several else ""}
        for k, pair in enumerate(pairs)
        for m, held in kept.items()
    ]


def _missing(found: Evaluation, names: Mapping[str, str], position: int) -> list[str]:
    """Why methods have no map on the page, or nothing that was read along it."""
    lost = [m for m in found.methods if (position, m) not in found.pieces]
    reasons = {
        row["method"]: row["reason"]
        for row in reversed(found.excluded)
        if row["example"] == found.name_of(position) and row["method"] in lost
    }
    return [f"{names[m]} is missing: {reasons.get(m, 'it has no curves here')}." for m in lost]


def _heading(found: Evaluation, position: int) -> str:
    pairs, name = _example(found, position).pairs, found.name_of(position)
    if len(pairs) > 1:
        return f"these {number_of(len(pairs), 'class', 'classes')} in {name}"
    if pairs[0][0] is None or found.answers != "probability":
        return f"this output for {name}"
    return f"{_called(found, pairs[0])} in {name}"


def _called(found: Evaluation, pair: tuple[int | None, float | None]) -> str:
    """A class by name, with what the model gives it."""
    target, p = pair
    assert target is not None, "a class of several"
    named = found.class_names.get(target, f"class {target}")
    return named if p is None else f"{named} (p = {p:.3f})"


def _example(found: Evaluation, position: int) -> Seen:
    (one,) = [one for one in found.kept if one.position == position]
    return one
