"""The tables that commands print, and what ``evaluate`` writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from captum_ext._text import line, number
from captum_ext.evaluation import Evaluation, write_report
from captum_ext.evaluation.cost import shared_walk
from captum_ext.evaluation.export import write_csv, write_parquet
from captum_ext.evaluation.report.sentences import (
    on_few,
    on_labels,
    on_scores,
    on_values,
    sentences,
)
from captum_ext.evaluation.store.folder import ResultFolder
from captum_ext.metrics.base.compare import SIGNIFICANT
from captum_ext.viz.scores import arrow

_PER_LINE = 7
COSTS = ("seconds", "forwards", "gradients")
MARKS = {"higher": "*", "lower": "*", "mixed": "~", "tied": "=", "open": " "}


def as_text(found: Evaluation, labels: Mapping[str, str], against: str) -> str:
    """The table, its scores marked where they differ from those of ``against``."""
    significance = found.significance(against)

    def score(record: Mapping[str, Any], column: str) -> str:
        difference = significance.get(column, {}).get(record["method"])
        mark = MARKS[difference.verdict] if difference else " "
        value = record[column]
        return f"{value:.3f}{mark}" if value == value else "- "

    columns = [*found.columns]
    parts = [columns[k : k + _PER_LINE] for k in range(0, len(columns), _PER_LINE)]
    lines = []
    for part in parts:
        lines += _lines(found, labels, part, score)
    lines += _lines(found, labels, [*COSTS], _cost)
    lines.append(f"{len(found.kept)} of {len(found.seen)} images. Costs are per image.")
    lines += [*filter(None, [on_labels(found), on_scores(found)]), *sentences(found, labels)]
    lines += on_few(found, against)
    if len(found.methods) > 1:
        lines += ["", *_compared(found, labels, against)]
    return "\n".join(lines)


def explained(table: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> str:
    """What ``explain`` prints: scores, costs and what went wrong, a line for each method.

    >>> row = {"method": "ig", "insertion": 0.5, "insertion_abs": None, "deletion": 0.25,
    ...        "deletion_abs": None, "seconds": 1.0, "forwards": 2, "gradients": 3, "reason": None,
    ...        "shared_with": []}
    >>> explained([row], {"ig": "IG"}).splitlines()[1].split()
    ['IG', '0.500', '-', '0.250', '-', '1.0', '2', '3']
    """
    heads = {
        "insertion": "insertion",
        "insertion_abs": "|insertion|",
        "deletion": "deletion",
        "deletion_abs": "|deletion|",
    }
    lines = [line("method", [*heads.values(), *COSTS], 18, 12)]
    for row in table:
        cells = [number(row[key]) for key in heads]
        cells += [f"{row['seconds']:.1f}", str(row["forwards"]), str(row["gradients"])]
        lines.append(
            line(labels[row["method"]], cells, 18, 12) + f"  {row['reason'] or ''}".rstrip()
        )
    together = {
        tuple(n for n in labels if n == row["method"] or n in row["shared_with"])
        for row in table
        if row["shared_with"]
    }
    lines += [shared_walk([labels[name] for name in names]) for names in sorted(together)]
    return "\n".join([*lines, *filter(None, (_in_words(row, labels) for row in table))])


def _in_words(row: Mapping[str, Any], labels: Mapping[str, str]) -> str | None:
    """What a reader can quote of a map: how few of its strongest pixels matter how much."""
    restore, lose = row.get("area_to_restore_abs"), row.get("area_to_lose_abs")
    parts = []
    if restore is not None:
        parts.append(f"revealing the top {restore:.0%} of pixels restores 90% of the score")
    if lose is not None:
        parts.append(f"hiding the top {lose:.0%} halves it")
    return f"{labels[row['method']]}: {'; '.join(parts)}." if len(parts) == 2 else None


def _compared(found: Evaluation, labels: Mapping[str, str], against: str) -> list[str]:
    """What the marks mean, what no mark could, and which method is best by each score."""
    legend = (
        f"Beside {labels[against]}, image by image: * differs (Wilcoxon signed-rank, "
        f"Holm-corrected, p < {SIGNIFICANT}); = tied, differs by less than {found.smallest:.1%} of "
        "the score's range; ~ mixed, as the mean and most images disagree."
    )
    alike: dict[str, list[str]] = {}
    for column, one in found.standings.items():
        alike.setdefault(one.sentence(labels), []).append(f"{column}{arrow(found.better(column))}")
    best = [f"best by {', '.join(columns)}: {text}" for text, columns in alike.items()]
    return [legend, *filter(None, [on_values(found)]), *best]


def _lines(
    found: Evaluation,
    labels: Mapping[str, str],
    columns: list[str],
    cell: Callable[[Mapping[str, Any], str], str],
) -> list[str]:
    width = max(11, *(len(column) + 2 for column in columns))
    rows = [
        line(labels[record["method"]], [cell(record, c) for c in columns], 22, width)
        for record in found.records
    ]
    return [line("method", columns, 22, width), *rows, ""]


def _cost(record: Mapping[str, Any], column: str) -> str:
    value = record[column]
    digits = 2 if column == "seconds" else 0
    return f"{value:.{digits}f} " if value == value else "- "


def names_of_files() -> list[str]:
    """What a run writes beside its results, for `ResultFolder.claim`."""
    return ["results.json", "results.csv", _per_example(), "curves.png", "report.html"]


def _per_example() -> str:
    return f"per_example.{'csv' if find_spec('pyarrow') is None else 'parquet'}"


def writers(
    found: Evaluation, folder: Path, labels: Mapping[str, str], against: str
) -> dict[Path, Callable[[], None]]:
    """What writes each file of a run, whole or not at all."""
    own = ResultFolder(folder)
    rows: Callable[..., Any] = write_csv if _per_example().endswith("csv") else write_parquet
    ways: list[Callable[[Path], Any]] = [
        lambda file: found.to_json(file, against),
        found.to_csv,
        lambda file: rows(file, found.per_example),
        lambda file: found.plot(labels).savefig(file, dpi=120),
        lambda file: write_report(found, file, labels, against),
    ]

    def write(name: str, way: Callable[[Path], Any]) -> None:
        with own.write(name) as temporary:
            way(temporary)

    pairs = zip(names_of_files(), ways, strict=True)
    return {folder / name: partial(write, name, way) for name, way in pairs}
