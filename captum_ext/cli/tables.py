"""The tables that commands print, and what ``evaluate`` writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from captum_ext._text import LINE, blocks, line, number, number_of, shortened
from captum_ext.evaluation import Evaluation, write_report
from captum_ext.evaluation.cost import shared_walk
from captum_ext.evaluation.export import write_csv, write_parquet
from captum_ext.evaluation.report.pages import PAGE
from captum_ext.evaluation.report.sentences import (
    on_classes,
    on_few,
    on_labels,
    on_scores,
    on_values,
    sentences,
)
from captum_ext.evaluation.store.folder import ForeignFileError, ResultFolder
from captum_ext.metrics.base.compare import SIGNIFICANT
from captum_ext.viz.scores import arrow

_FIRST = 23
"""Letters of the column of methods."""
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

    lines = []
    longest = max(len(column) for column in found.columns)
    for part in blocks([*found.columns], max(11, longest + 4), LINE - _FIRST):
        lines += _lines(found, labels, [*part], score)
    lines += _lines(found, labels, [*COSTS], _cost)
    seen = number_of(len(found.seen), "image")
    lines.append(f"{len(found.kept)} of {seen}. Costs are per image.")
    said = [on_labels(found), on_classes(found), on_scores(found)]
    lines += [*filter(None, said), *sentences(found, labels)]
    lines += on_few(found, against)
    if len(found.methods) > 1:
        lines += ["", *_compared(found, labels, against)]
    return "\n".join(lines)


def explained(tables: Mapping[str, Sequence[Mapping[str, Any]]], labels: Mapping[str, str]) -> str:
    """What ``explain`` prints: scores, then costs, then what went wrong.

    Args:
        tables: rows of each class, by its heading, which is shown where there are several; their
            costs are summed.
        labels: how methods are called, by name.

    >>> row = {"method": "ig", "insertion": 0.5, "insertion_abs": None, "deletion": 0.25,
    ...        "deletion_abs": None, "seconds": 1.0, "forwards": 2, "gradients": 3, "reason": None,
    ...        "shared_with": []}
    >>> lines = explained({"": [row]}, {"ig": "IG"}).splitlines()
    >>> lines[1].split(), lines[4].split()
    (['IG', '0.500', '-', '0.250', '-'], ['IG', '1.0', '2', '3'])
    """
    several, lines, remarks = len(tables) > 1, [], []
    for heading, table in tables.items():
        said = [f"{labels[row['method']]}: {row['reason']}" for row in table if row["reason"]]
        words = [*filter(None, (_in_words(row, labels) for row in table))]
        if several:
            lines += [heading, *_scores(table, labels), *said, *words, ""]
        else:
            lines += [*_scores(table, labels), ""]
            remarks = [said, words]
    lines += [*_costs([*tables.values()], labels), ""]
    shared = _shared([row for table in tables.values() for row in table], labels)
    before, after = remarks or [[], []]
    return "\n".join([*lines, *before, *shared, *after])


def _scores(table: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> list[str]:
    heads = {
        "insertion": f"insertion{arrow(True)}",
        "insertion_abs": f"|insertion|{arrow(True)}",
        "deletion": f"deletion{arrow(False)}",
        "deletion_abs": f"|deletion|{arrow(False)}",
    }
    widths = [len(head) + 2 for head in heads.values()]
    lines = [line("method", heads.values(), _FIRST, widths)]
    for row in table:
        cells = [number(row[key]) for key in heads]
        lines.append(line(_label(labels, row), cells, _FIRST, widths))
    return lines


def _costs(tables: Sequence[Sequence[Mapping[str, Any]]], labels: Mapping[str, str]) -> list[str]:
    lines = [line("method", COSTS, _FIRST, 11)]
    for rows in zip(*tables, strict=True):
        seconds, forwards, gradients = (sum(row[cost] for row in rows) for cost in COSTS)
        cells = [f"{seconds:.1f}", str(round(forwards)), str(round(gradients))]
        lines.append(line(_label(labels, rows[0]), cells, _FIRST, 11))
    return lines


def _shared(table: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> list[str]:
    together = {
        tuple(n for n in labels if n == row["method"] or n in row["shared_with"])
        for row in table
        if row["shared_with"]
    }
    return [shared_walk([labels[name] for name in names]) for names in sorted(together)]


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
    # Only scores have a better way.
    heads = [c + arrow(found.better(c) if c in found.columns else None) for c in columns]
    width = max(11, *(len(head) + 2 for head in heads))
    rows = [
        line(_label(labels, record), [cell(record, c) for c in columns], _FIRST, width)
        for record in found.records
    ]
    return [line("method", heads, _FIRST, width), *rows, ""]


def _label(labels: Mapping[str, str], record: Mapping[str, Any]) -> str:
    return shortened(labels[record["method"]], _FIRST - 1)


def _cost(record: Mapping[str, Any], column: str) -> str:
    value = record[column]
    digits = 2 if column == "seconds" else 0
    return f"{value:.{digits}f} " if value == value else "- "


PAGES = "report-pages"
"""Where the report's pages of single images lie, beside it."""


def claim(folder: Path) -> None:
    """Checks, before any work, that a run's files may be written.

    Raises:
        ForeignFileError: if one is there that no run wrote, or that was changed since.
    """
    ResultFolder(folder).claim(names_of_files())
    pages = folder / PAGES
    if pages.exists() and not pages.is_dir():
        raise ForeignFileError(f"{pages} is a file where a folder is to be: move it away.")
    ResultFolder(pages).claim(f.name for f in pages.glob("*") if re.fullmatch(PAGE, f.name))


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
        lambda file: write_report(found, file, labels, against, folder / PAGES),
    ]

    def write(name: str, way: Callable[[Path], Any]) -> None:
        with own.write(name) as temporary:
            way(temporary)

    pairs = zip(names_of_files(), ways, strict=True)
    return {folder / name: partial(write, name, way) for name, way in pairs}
