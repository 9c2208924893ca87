"""One page that a browser opens from disk: no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from captum_ext.evaluation.report.copies import FORMATS
from captum_ext.evaluation.report.sentences import (
    on_classes,
    on_few,
    on_labels,
    on_scores,
    on_values,
    sentences,
)
from captum_ext.evaluation.result import Evaluation
from captum_ext.evaluation.store.identity import digest_of_source
from captum_ext.metrics.base.compare import SIGNIFICANT, Difference
from captum_ext.viz.scores import arrow, score_figure
from captum_ext.viz.thumbnails import tinted

_HERE = Path(__file__).parent
_SHOWN = 4
_ROWS = 500


def write_report(
    found: Evaluation,
    file: str | Path,
    labels: Mapping[str, str] | None = None,
    against: str | None = None,
) -> None:
    """Writes one page that needs nothing else: ranking, curves, images, protocol.

    Args:
        found: the evaluation.
        file: where to.
        labels: how methods are called, by name.
        against: the method that others are compared with; None is the first.

    Raises:
        OSError: if the file can't be written.

    >>> from tempfile import TemporaryDirectory
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
    pages = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    content = _content(found, names, against or found.methods[0])
    page = pages.get_template("report.html").render(found=found, names=names, **content)
    # Names of files that are no UTF-8 are spelled out.
    Path(file).write_text(page + "\n", encoding="utf-8", errors="backslashreplace")


def _content(found: Evaluation, names: Mapping[str, str], against: str) -> dict[str, Any]:
    """What the template shows, in plain values: it escapes all of them but the style."""
    first = _primary(found)
    said = "; ".join(filter(None, [on_labels(found), on_classes(found)]))
    n = len(found.excluded)
    return {
        # Our own file: nothing to escape.
        "style": Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        "model": found.settings.get("model_name") or found.settings.get("model"),
        "on_labels": f"{said[:1].upper()}{said[1:]}",
        "best": [
            {"column": column, "value": _value(found, column, one.first),
             "sentence": one.sentence(names)}
            for column, one in found.standings.items()
        ],
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
        "ratios": _ratios(found, names),
        "sanity": _sanity(found, names),
        "checksums": _checksums(found),
        "ranking": [_row(found, record, against) for record in found.ranked(first)],
        "scores": _picture(_scores(found, names)),
        "curves": _picture(found.plot(names)) if any(found.curves.values()) else "",
        "extremes": _extremes(found, names, first),
        "side_by_side": _side_by_side(found, first),
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


def _ratios(found: Evaluation, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Areas of insertion and deletion in shares of each image's own probability.

    None where answers are no probabilities, an image has several classes, or a metric gives
    shares already.
    """
    settings = found.settings.get("metrics", {})
    kinds = [("Insertion", "probability"), ("Deletion", "probability")]
    columns = [
        c for c in found.columns
        if c in found.values
        and (settings.get(c, {}).get("metric"), settings.get(c, {}).get("reading")) in kinds
    ]  # fmt: skip
    if found.n_pairs or not columns:
        return []
    whole = torch.tensor([one.pairs[0][1] or torch.nan for one in found.kept], dtype=torch.float64)
    heads = [f"{c}{arrow(found.better(c))}" for c in columns]
    values = [
        [float((found.values[c][m].cpu() / whole).nanmean()) for c in columns]
        for m in found.methods
    ]
    rows = [
        {"name": names[m], "cells": ["-" if x != x else f"{x:.3f}" for x in row]}
        for m, row in zip(found.methods, values, strict=True)
    ]
    return [{"title": "shares of probability", "heads": heads, "rows": rows}]


def _sanity(found: Evaluation, names: Mapping[str, str]) -> dict[str, Any] | None:
    """Each method's similarities after randomization, means over stages, beside chance."""
    if found.sanity is None:
        return None
    table = found.sanity["table"]
    keys = [key.removesuffix("_chance") for key in table[0] if key.endswith("_chance")]
    rows = []
    for method in dict.fromkeys(row["method"] for row in table):
        own = [row for row in table if row["method"] == method]
        rows.append(
            {"name": names.get(method, method), "cells": [_similarity(own, k) for k in keys]}
        )
    protocol = found.sanity.get("protocol", {})
    return {
        "title": "sanity check",
        "heads": [f"{key} ↓" for key in keys],
        "rows": rows,
        "model": protocol.get("model"),
        "n_images": len(protocol.get("targets", [])),
    }


def _similarity(rows: list[dict[str, Any]], key: str) -> str:
    known = [row[key] for row in rows if row[key] is not None]
    chance = rows[0][f"{key}_chance"]
    beside = "" if chance is None else f" (chance {chance:.2f})"
    return f"{sum(known) / len(known):.2f}{beside}" if known else "-"


def _checksums(found: Evaluation) -> dict[str, str]:
    """SHA-256 of what was run on what."""
    seen = "".join(f"{one.position} {one.digest}\n" for one in found.seen)
    return {
        "model (kind, and first digits of weights and code)": str(found.settings.get("model")),
        f"images ({len(found.seen)}, by position and pixels)": hashlib.sha256(
            seen.encode()
        ).hexdigest(),
        "source of captum_ext": digest_of_source("captum_ext"),
    }


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
        "of": f"{n} images" if n != len(found.kept) else "",
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
    """The score that orders: the absolute insertion if there is one, as maps are looked at."""
    for column in ("insertion_abs", "insertion", *found.columns):
        if column in found.columns:
            return column
    return "seconds"


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


def _extremes(found: Evaluation, names: Mapping[str, str], column: str) -> list[dict[str, Any]]:
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


def _side_by_side(found: Evaluation, column: str) -> list[dict[str, Any]]:
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
        "picture": _data(found.picture_of(position)),
    }


def _map(found: Evaluation, k: int, method: str, values: torch.Tensor) -> dict[str, str]:
    picture = tinted(found.picture_of(found.kept[k].position, method))
    return {"map": _data(picture), "value": f"{float(values[k]):.2f}"}


def _picture(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return _data(buffer.getvalue())


def _data(content: bytes | None) -> str:
    """A picture as the address of itself; none has none."""
    if content is None:
        return ""
    kind = "jpeg" if content[:2] == b"\xff\xd8" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
