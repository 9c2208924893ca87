"""One page that a browser opens from disk: no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from captum_ext.evaluation.report.sentences import on_few, on_labels, on_values, sentences
from captum_ext.evaluation.result import Evaluation
from captum_ext.metrics.base.compare import SIGNIFICANT, Difference
from captum_ext.viz.scores import arrow, score_figure

_STYLE = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
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
    against = against or found.methods[0]
    parts = [
        _head(found, names),
        _ranking(found, names, against),
        _section("Scores with 95 % intervals", _picture(_scores(found, names)), "Bootstrap "
                 "over images; the best value is on top."),
        _section("Curves", _picture(found.plot(names)), "Means over images.")
        if any(found.curves.values()) else "",
        _extremes(found, names),
        _side_by_side(found, names),
        _exclusions(found, names),
        _protocol(found),
    ]  # fmt: skip
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Which map to trust</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )
    # Names of files that are no UTF-8 are spelled out.
    Path(file).write_text(page, encoding="utf-8", errors="backslashreplace")


def _head(found: Evaluation, names: Mapping[str, str]) -> str:
    model = found.settings.get("model_name") or found.settings.get("model")
    said = on_labels(found)
    about_labels = f" {said[:1].upper()}{said[1:]}." if said else ""
    lines = "".join(
        f"<li><b>{escape(column)}</b>{_value(found, column, one.first)}: "
        f"{escape(one.sentence(names))}</li>"
        for column, one in found.standings.items()
    )
    return (
        f"<h1>Which map to trust?</h1><p class=lead>{len(found.methods)} methods, "
        f"{len(found.kept)} of {len(found.seen)} images, model {escape(str(model))}."
        f"{about_labels}</p>"
        f"<div class=best><h3>Best by each score</h3><ul>{lines}</ul>"
        "<p class=note>Every pair of methods is tested image by image, as in the table below, and "
        "corrected for all pairs. Intervals overlap more often than differences are due to "
        "chance.</p></div>"
    )


def _value(found: Evaluation, column: str, method: str | None) -> str:
    record = next((r for r in found.records if r["method"] == method), None)
    return "" if record is None else f" {record[column]:.3f} {_interval(record, column)}"


def _ranking(found: Evaluation, names: Mapping[str, str], against: str) -> str:
    significance = found.significance(against)
    first = _primary(found)
    heads = "".join(f"<th>{escape(c)}{arrow(found.better(c))}</th>" for c in found.columns)
    rows = []
    for record in found.ranked(first):
        method = record["method"]
        cells = "".join(
            _cell(found, record, column, significance.get(column, {}).get(method))
            for column in found.columns
        )
        costs = (
            f"<td class=cost>{record['seconds']:.2f}</td><td class=cost>{record['forwards']:.0f}"
            f"</td><td class=cost>{record['gradients']:.0f}</td><td class=cost>"
            f"{record['n_examples']}</td>"
        )
        mark = " class=against" if method == against else ""
        rows.append(f"<tr{mark}><th>{escape(names[method])}</th>{cells}{costs}</tr>")
    costs = "".join(
        f"<th class=cost>{word}</th>" for word in ("seconds", "forwards", "gradients", "images")
    )
    table = (
        f"<table class=ranking><thead><tr><th>method</th>{heads}{costs}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    text = (
        f"Ordered by {escape(first)}. ↑ higher is better, ↓ lower is better; the shade "
        "follows the value within its column. "
        f"<span class=up>better</span> and <span class=down>worse</span> mark differences from "
        f"<b>{escape(names[against])}</b> on the same images: Wilcoxon's signed-rank test, "
        f"p &lt; {SIGNIFICANT} after Holm's correction; d is the mean difference of the images. A "
        "difference is <i>mixed</i> where its mean and most images disagree, and methods are "
        f"<i>tied</i> where they differ by less than {found.smallest:.1%} of the score's range"
        f"{_least(found)}. {_few(found, against)}Columns ending in _abs "
        "rank pixels by the sum of absolute values over channels, the others by the signed sum. "
        "Seconds and model evaluations (forward passes; gradients, each a forward and a "
        "backward pass) are per image, without the metrics."
    )
    return _section("Ranking", table, text)


def _cell(
    found: Evaluation, record: Mapping[str, Any], column: str, difference: Difference | None
) -> str:
    value = record[column]
    if value != value:
        return "<td class=none>&ndash;</td>"
    values = [r[column] for r in found.records if r[column] == r[column]]
    spread = max(values) - min(values)
    # A shade would make much of differences that do not count.
    counts = spread >= found.least.get(column, 0.0) and spread > 0
    share = (value - min(values)) / spread if counts else 0.5
    share = 1 - share if found.better(column) is False else share
    verdict = ""
    if difference is not None and difference.n:
        word = _word(difference.verdict, found.better(column))
        verdict = f"<small>d {difference.mean:+.3f}, p {_p(difference.p_value)} {word}</small>"
    n = found.counts[column][record["method"]].n
    of = f"<small>{n} images</small>" if n != len(found.kept) else ""
    return (
        f'<td style="background:rgba(58,134,255,{0.28 * share:.3f})">{value:.3f}'
        f"<small>{_interval(record, column)}</small>{of}{verdict}</td>"
    )


def _word(verdict: str, higher_is_better: bool | None) -> str:
    """A verdict as the page says it.

    >>> _word("lower", False), _word("tied", True), _word("open", True)
    ('<span class=up>better</span>', 'tied', '')
    """
    if verdict in ("mixed", "tied"):
        return verdict
    if verdict == "open" or higher_is_better is None:
        return "" if verdict == "open" else verdict
    better = (verdict == "higher") is higher_is_better
    return "<span class=up>better</span>" if better else "<span class=down>worse</span>"


def _least(found: Evaluation) -> str:
    """The smallest differences that count, with their columns where they are not all alike."""
    by_size: dict[str, list[str]] = {}
    for column, least in found.least.items():
        by_size.setdefault(f"{least:.2g}", []).append(column)
    if len(by_size) < 2:
        return "".join(f", {least}" for least in by_size)
    parts = (f"{least} in {escape(', '.join(columns))}" for least, columns in by_size.items())
    return f": {'; '.join(parts)}"


def _few(found: Evaluation, against: str) -> str:
    lines = [*on_few(found, against), *filter(None, [on_values(found)])]
    return "".join(f"<b>{escape(line)}.</b> " for line in lines)


def _interval(record: Mapping[str, Any], column: str) -> str:
    low, high = record[f"{column}_low"], record[f"{column}_high"]
    return f"[{low:.3f}, {high:.3f}]" if low == low else ""


def _p(value: float) -> str:
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


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


def _extremes(found: Evaluation, names: Mapping[str, str]) -> str:
    """The best and worst images of each method, with its maps."""
    column = _primary(found)
    if column not in found.values:
        return ""
    sign = -1 if found.better(column) is False else 1
    rows = []
    for method, values in found.values[column].items():
        known = torch.nonzero(~values.isnan()).flatten()
        order = known[(sign * values[known]).argsort(descending=True, stable=True)].tolist()
        n = min(_SHOWN, len(order) // 2)
        if n:
            best = "".join(_pair(found, k, method, float(values[k])) for k in order[:n])
            worst = "".join(_pair(found, k, method, float(values[k])) for k in order[-n:])
            rows.append(f"<tr><th>{escape(names[method])}</th><td>{best}</td><td>{worst}</td></tr>")
    if not rows:
        return ""
    table = (
        "<table class=extremes><thead><tr><th></th><th>best</th><th>worst</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    return _section(
        "Best and worst images of each method",
        table,
        f"By {escape(column)}, best first; maps are sums of absolute values, from the "
        "least to the 99th percentile.",
    )


def _pair(found: Evaluation, k: int, method: str, value: float) -> str:
    position = found.kept[k].position
    name = escape(found.name_of(position))
    return (
        f'<figure title="{name}">{_image(found.picture_of(position))}'
        f"{_image(_colored(found.picture_of(position, method)))}"
        f"<figcaption>{value:.2f}<small>{name}</small></figcaption></figure>"
    )


def _side_by_side(found: Evaluation, names: Mapping[str, str]) -> str:
    """A few images under every method: those on which methods differ most."""
    column = _primary(found)
    if column not in found.values or len(found.methods) < 2:
        return ""
    values = torch.stack([*found.values[column].values()])
    spread = values.nan_to_num(0).amax(0) - values.nan_to_num(1).amin(0)
    chosen = spread.argsort(descending=True, stable=True)[:_SHOWN].tolist()
    heads = "".join(f"<th>{escape(names[m])}</th>" for m in found.methods)
    rows = []
    for k in chosen:
        position = found.kept[k].position
        cells = "".join(
            f"<td>{_image(_colored(found.picture_of(position, m)))}"
            f"<small>{float(found.values[column][m][k]):.2f}</small></td>"
            for m in found.methods
        )
        name = escape(found.name_of(position))
        rows.append(
            f'<tr><td>{_image(found.picture_of(position))}<small title="{name}">{name}</small></td>'
            f"{cells}</tr>"
        )
    table = f"<table class=side><thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}"
    text = f"The images on which {escape(column)} differs most between methods."
    return _section("Side by side", f"{table}</tbody></table>", text)


def _exclusions(found: Evaluation, names: Mapping[str, str]) -> str:
    lines = [f"<li>{escape(line)}</li>" for line in sentences(found, names)]
    lines += [f"<li>method {escape(names.get(m, m))}: {escape(reason)}</li>"
              for m, reason in found.unsuited.items()]  # fmt: skip
    lines += [f"<li>{escape(note)}</li>" for note in found.notes]
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(str(row[key] or ''))}</td>" for key in
                         ("example", "method", "metric", "reason")) + "</tr>"
        for row in found.excluded[:_ROWS]
    )  # fmt: skip
    n = len(found.excluded)
    count = f"all {n}" if n <= _ROWS else f"the first {_ROWS} of {n}; results.json has all"
    table = (
        f"<details><summary>{count}</summary><table class=plain><thead><tr>"
        "<th>image</th><th>method</th><th>metric</th><th>reason</th></tr></thead><tbody>"
        f"{rows}</tbody></table></details>"
        if rows
        else ""
    )
    summary = f"<ul>{''.join(lines)}</ul>" if lines else "<p>Nothing was left out.</p>"
    return _section("Left out, and why", summary + table, "")


def _protocol(found: Evaluation) -> str:
    protocol = {k: v for k, v in found.settings.items() if k != "versions"}
    versions = found.settings.get("versions", {})
    command = (
        f"<h3>The command that repeats this</h3><pre class=command>{escape(found.command)}</pre>"
        if found.command
        else ""
    )
    listed = ", ".join(f"{escape(k)} {escape(str(v))}" for k, v in versions.items())
    text = escape(json.dumps(protocol, indent=1, default=str, ensure_ascii=False))
    return _section(
        "Protocol",
        f"{command}<h3>Versions</h3><p>{listed}</p><h3>Settings</h3><pre>{text}</pre>",
        "Everything that decides the numbers.",
    )


def _section(title: str, content: str, text: str) -> str:
    note = f"<p class=note>{text}</p>" if text else ""
    return f"<section><h2>{title}</h2>{note}<div class=wide>{content}</div></section>"


def _picture(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return f'<img class=chart alt="chart" src="{_data(buffer.getvalue(), "png")}">'


def _image(content: bytes | None) -> str:
    if content is None:
        return "<span class=gone>no picture</span>"
    kind = "jpeg" if content[:2] == b"\xff\xd8" else "png"
    return f'<img alt="" src="{_data(content, kind)}">'


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _colored(content: bytes | None) -> bytes | None:
    """A grey map in colors, as a small JPEG."""
    if content is None:
        return None
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as opened:
        grey = np.asarray(opened.convert("L"))
    table = (colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(table[grey]).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
