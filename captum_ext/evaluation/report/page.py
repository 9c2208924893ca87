"""One page that a browser opens from disk: no script, nothing from elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from captum_ext._text import number_of
from captum_ext.evaluation.report.checksums import checksums
from captum_ext.evaluation.report.copies import FORMATS
from captum_ext.evaluation.report.pages import write_pages
from captum_ext.evaluation.report.pictures import (
    extremes,
    figure_address,
    shown_positions,
    side_by_side,
)
from captum_ext.evaluation.report.player import primary
from captum_ext.evaluation.report.sanity import sanity_table
from captum_ext.evaluation.report.sentences import (
    on_classes,
    on_few,
    on_labels,
    on_scores,
    on_values,
    sentences,
)
from captum_ext.evaluation.report.shares import shares
from captum_ext.evaluation.result import Evaluation
from captum_ext.metrics import AIC, SIC
from captum_ext.metrics.base.compare import SIGNIFICANT, Difference
from captum_ext.viz.scores import arrow, level_figure, score_figure

_HERE = Path(__file__).parent
_ROWS = 500
_MEASURES = {"entropy": "compressed size", "ms_ssim": "MS-SSIM with the original"}


def write_report(
    found: Evaluation,
    file: str | Path,
    labels: Mapping[str, str] | None = None,
    against: str | None = None,
    pages: str | Path | None = None,
) -> None:
    """Writes one page that needs nothing else: ranking, curves, images, protocol.

    With ``pages`` it is linked to a page of each image that it shows, on which a slider reveals or
    hides the strongest pixels under every method, with the scores that were asked.

    Args:
        found: the evaluation.
        file: where to.
        labels: how methods are called, by name.
        against: the method that others are compared with; None is the first.
        pages: a folder for the images' pages, made if it is missing; None writes none. They need
            insertion and deletion of images in [0, 1] with hidden pixels that are the same all
            along, and at most 8 images a method and 4 more have one.

    Raises:
        OSError: if a file can't be written.
        ValueError: if a file of the user's stands where a page would.

    >>> from tempfile import TemporaryDirectory
    >>> import torch
    >>> from captum.attr import Saliency
    >>> from torch import nn
    >>> from captum_ext.evaluation import evaluate
    >>> from captum_ext.metrics import Insertion
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.Softmax(1)).eval()
    >>> data = [(torch.rand(3, 2, 2), k % 2) for k in range(3)]
    >>> metrics = {"insertion": Insertion(model, n_steps=4)}
    >>> found = evaluate(model, data, {"gradient": Saliency(model)}, metrics, batch_size=3, seed=0)
    >>> with TemporaryDirectory() as folder:
    ...     write_report(found, Path(folder) / "report.html")
    ...     Path(folder, "report.html").read_text()[:15]
    '<!doctype html>'
    """
    names = {m: (labels or {}).get(m, m) for m in found.methods}
    templates = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    templates.filters["number_of"] = number_of
    links = Links() if pages is None else _linked(found, names, Path(file), Path(pages))
    content = _content(found, names, against or found.methods[0], links)
    page = templates.get_template("report.html").render(found=found, names=names, **content)
    # Names of files that are no UTF-8 are spelled out.
    Path(file).write_text(page + "\n", encoding="utf-8", errors="backslashreplace")


@dataclass(frozen=True)
class Links:
    """The images' own pages: by position their address, where they lie, and how large they are.

    ``without`` are names of images that are shown and have none.
    """

    pages: Mapping[int, str] = field(default_factory=dict)
    without: Sequence[str] = ()
    folder: str = ""
    megabytes: float = 0.0


def _linked(found: Evaluation, names: Mapping[str, str], file: Path, folder: Path) -> Links:
    shown = shown_positions(found, _primary(found))
    written = write_pages(found, names, folder, shown)
    # Relative, so that the page and the folder move together.
    place = Path(os.path.relpath(folder, file.parent)).as_posix()
    size = sum((folder / name).stat().st_size for name in written.values())
    pages = {k: f"{quote(place)}/{n}" for k, n in written.items()}
    without = [found.name_of(k) for k in sorted(shown - {*written})]
    return Links(pages, without, place, size / 1e6)


def _best(found: Evaluation, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """What can be said of scores, each sentence once, and the scores of which it is true."""
    said: dict[str, list[dict[str, str]]] = {}
    for column, one in found.standings.items():
        value = {"column": column, "value": _value(found, column, one.first)}
        said.setdefault(one.sentence(names), []).append(value)
    return [{"scores": scores, "sentence": sentence} for sentence, scores in said.items()]


def _content(
    found: Evaluation, names: Mapping[str, str], against: str, links: Links
) -> dict[str, Any]:
    """What the template shows, in plain values: it escapes all of them but the style."""
    first = _primary(found)
    said = "; ".join(filter(None, [on_labels(found), on_classes(found)]))
    n = len(found.excluded)
    return {
        # Our own file: nothing to escape.
        "style": Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        "model": found.settings.get("model_name") or found.settings.get("model"),
        "on_labels": f"{said[:1].upper()}{said[1:]}",
        "best": _best(found, names),
        "first": first,
        "against": against,
        "significant": SIGNIFICANT,
        "smallest": f"{found.smallest:.1%}",
        "least": _least(found),
        "remarks": [*on_few(found, against), *filter(None, [on_values(found), on_scores(found)])],
        "heads": [
            {"name": f"{column}{arrow(found.better(column))}", "of": _n_of(found, column)}
            for column in found.columns
        ],
        "copies": {kind: write(_rows(found, names, first)) for kind, write in FORMATS.items()},
        "ratios": shares(found, names),
        "sanity": sanity_table(found, names),
        "checksums": checksums(found),
        "ranking": [_row(found, record, against) for record in found.ranked(first)],
        "scores": figure_address(_scores(found, names)),
        "curves": figure_address(found.plot(names)) if any(found.curves.values()) else "",
        "levels": _levels(found, names),
        "links": links,
        "extremes": extremes(found, names, first, links.pages),
        "side_by_side": side_by_side(found, first, links.pages),
        "left_out": [
            *sentences(found, names),
            *(f"method {names.get(m, m)}: {reason}" for m, reason in found.unsuited.items()),
            *found.notes,
        ],
        "excluded": found.excluded[:_ROWS],
        "n_excluded": f"all {n}" if n <= _ROWS else f"the first {_ROWS} of {n}; results.json has "
                      "all",
        "versions": found.settings.get("versions", {}).items(),
        "protocol": json.dumps(
            {k: v for k, v in found.settings.items() if k != "versions"},
            indent=1, default=str, ensure_ascii=False,
        ),
    }  # fmt: skip


def _n_of(found: Evaluation, column: str) -> str:
    """Of how many images a column is, over its methods."""
    ns = [count.n for count in found.counts[column].values()]
    return f"n = {min(ns)}" if min(ns) == max(ns) else f"n = {min(ns)} to {max(ns)}"


def _rows(found: Evaluation, names: Mapping[str, str], first: str) -> list[list[str]]:
    """The ranking as texts, its head first."""
    heads = [f"{column}{arrow(found.better(column))}" for column in found.columns]
    rows = [["method", *heads, "seconds", "forwards", "gradients", "images"]]
    for record in found.ranked(first):
        cells = [_value(found, column, record["method"]) for column in found.columns]
        rows.append([names[record["method"]], *cells, *_costs(record)])
    return rows


def _value(found: Evaluation, column: str, method: str | None) -> str:
    record = next((r for r in found.records if r["method"] == method), None)
    return "" if record is None else f"{record[column]:.3f} {_interval(record, column)}".rstrip()


def _row(found: Evaluation, record: Mapping[str, Any], against: str) -> dict[str, Any]:
    significance = found.significance(against)
    method = record["method"]
    return {
        "method": method,
        "kind": "impostor" if method in found.impostors else "",
        "cells": [
            _cell(found, record, column, significance.get(column, {}).get(method))
            for column in found.columns
        ],
        "costs": _costs(record),
    }  # fmt: skip


def _costs(record: Mapping[str, Any]) -> list[str]:
    counts = [f"{record[key]:.0f}" for key in ("forwards", "gradients", "n_examples")]
    return [f"{record['seconds']:.2f}", *counts]


def _cell(
    found: Evaluation, record: Mapping[str, Any], column: str, difference: Difference | None
) -> dict[str, str] | None:
    """A score in words; None where there is none."""
    value = record[column]
    if value != value:
        return None
    values = [r[column] for r in found.records if r[column] == r[column]]
    spread = max(values) - min(values)
    # A shade would make much of differences that do not count.
    counts = spread >= found.least.get(column, 0.0) and spread > 0
    share = (value - min(values)) / spread if counts else 0.5
    share = 1 - share if found.better(column) is False else share
    n = found.counts[column][record["method"]].n
    cell = {
        "value": f"{value:.3f}",
        "shade": f"{0.28 * share:.3f}",
        "interval": _interval(record, column),
        "of": number_of(n, "image") if n != len(found.kept) else "",
        "difference": "",
    }
    if difference is not None and difference.n:
        p = "< 0.001" if difference.p_value < 0.001 else f"{difference.p_value:.3f}"
        cell["difference"] = f"d {difference.mean:+.3f}, p {p}"
        cell["word"], cell["kind"] = _word(difference.verdict, found.better(column))
    return cell


def _word(verdict: str, higher_is_better: bool | None) -> tuple[str, str]:
    """A verdict as the page says it, and how it looks.

    >>> _word("lower", False), _word("tied", True), _word("open", True)
    (('better', 'up'), ('tied', ''), ('', ''))
    """
    if verdict == "open":
        return "", ""
    if verdict in ("mixed", "tied") or higher_is_better is None:
        return verdict, ""
    return ("better", "up") if (verdict == "higher") is higher_is_better else ("worse", "down")


def _least(found: Evaluation) -> str:
    """The smallest differences that count, with their columns where they are not all alike."""
    by_size: dict[str, list[str]] = {}
    for column, least in found.least.items():
        by_size.setdefault(f"{least:.2g}", []).append(column)
    if len(by_size) < 2:
        return "".join(f", {least}" for least in by_size)
    parts = (f"{least} in {', '.join(columns)}" for least, columns in by_size.items())
    return f": {'; '.join(parts)}"


def _interval(record: Mapping[str, Any], column: str) -> str:
    low, high = record[f"{column}_low"], record[f"{column}_high"]
    return f"[{low:.3f}, {high:.3f}]" if low == low else ""


def _primary(found: Evaluation) -> str:
    return primary([*found.columns]) if found.columns else "seconds"


def _levels(found: Evaluation, names: Mapping[str, str]) -> str:
    """The share of frames per level of information, where AIC or SIC were run."""
    shares: dict[str, dict[str, list[float]]] = {}
    for by_method in found.metrics.values():
        for method, metric in by_method.items():
            if isinstance(metric, AIC | SIC) and metric.update_called:
                own = metric.frame_shares().tolist()
                # AIC and SIC of one measure read the same frames.
                if own[0] == own[0]:
                    shares.setdefault(_MEASURES[metric.level], {}).setdefault(method, own)
    return figure_address(level_figure(shares, names)) if shares else ""


def _scores(found: Evaluation, names: Mapping[str, str]) -> Figure:
    """Every score with its interval."""
    columns = {
        f"{column}{arrow(found.better(column))}": [
            (row["method"], row[f"{column}_low"], row[column], row[f"{column}_high"])
            for row in found.ranked(column)
        ]
        for column in found.columns
    }
    return score_figure(columns, names)
