"""What is said beside numbers: of how many examples they are, and why others are left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from captum_ext._text import number_of
from captum_ext.evaluation.result import Count, Evaluation
from captum_ext.metrics.base.bootstrap import too_few

_ROUNDING = 1e-5


def sentences(found: Evaluation, labels: Mapping[str, str], what: str = "image") -> list[str]:
    """What the columns are of, and what was left out of them; none if nothing was.

    Args:
        found: the evaluation.
        labels: how methods are called.
        what: an example's word.
    """
    n_seen, n_kept = len(found.seen), len(found.kept)
    lines = [
        f"left out of every column: {number_of(n, what)} ({reason})"
        for reason, n in found.reasons.items()
    ]
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for column, by_method in found.counts.items():
        alike: dict[str, list[str]] = defaultdict(list)
        for method, count in by_method.items():
            if count.n != n_kept:
                alike[_text(found, count, n_seen, what)].append(method)
        for text, having in alike.items():
            grouped[text, tuple(having)].append(column)
    for (text, methods), columns in grouped.items():
        everywhere = len(methods) == len(found.methods)
        of = "" if everywhere else f" of {', '.join(labels.get(m, m) for m in methods)}"
        lines.append(f"{', '.join(columns)}{of}: {text}")
    return lines


def on_few(found: Evaluation, against: str, what: str = "image") -> list[str]:
    """Says which columns have too few examples for a difference, or for an interval."""
    limits = found.limits(against)
    fewest = {c: min(count.n for count in counts.values()) for c, counts in found.counts.items()}
    unbounded = {c: too_few(n).replace("examples", f"{what}s") for c, n in fewest.items()}
    lines = []
    for said in (limits, unbounded):
        columns: dict[str, list[str]] = defaultdict(list)
        for column, text in said.items():
            if text:
                columns[text].append(column)
        for text, having in columns.items():
            where = "" if len(having) == len(found.columns) else f"{', '.join(having)}: "
            lines.append(f"{where}{text}")
    return lines


def on_values(found: Evaluation, what: str = "image") -> str:
    """Says which columns are no means of their examples' values, of which differences are."""
    columns = [
        column
        for column, values in found.values.items()
        for record in found.records
        if abs(record[column] - float(values[record["method"]].nanmean())) > _ROUNDING
    ]
    if not columns:
        return ""
    named = ", ".join(dict.fromkeys(columns))
    return f"{named}: a value of the median curve; differences are means of each {what}'s own"


def on_scores(found: Evaluation) -> str:
    """Says that values have the unit of the model's scores; nothing where it gives probabilities.

    >>> from types import SimpleNamespace
    >>> on_scores(SimpleNamespace(answers="score"))[:41]
    "the model's answers are read as scores: a"
    """
    if found.answers == "probability":
        return ""
    return (
        "the model's answers are read as scores: areas of insertion and deletion are in their "
        "unit, and examples have no common range"
    )


def on_labels(found: Evaluation, what: str = "image") -> str:
    """Says how many examples have no label; nothing where all have one."""
    n, n_kept = found.n_unlabeled, len(found.kept)
    if n == 0:
        return ""
    among, have = number_of(n_kept, what), "has" if n == 1 else "have"
    who = f"none of {among} has a" if n == n_kept else f"{n} of {among} {have} no"
    return f"{who} label: explained is the class that the model predicts"


def on_classes(found: Evaluation, what: str = "image") -> str:
    """Says what stands for an example of several classes; nothing where none has several.

    >>> from types import SimpleNamespace
    >>> on_classes(SimpleNamespace(kept=[1, 2], n_pairs=5, n_pairs_left_out=0, n_one_region=0))
    "2 images have 5 labels, each explained and scored by itself: an image's value is their mean"
    """
    if not found.n_pairs:
        return ""
    n, lost = len(found.kept), found.n_pairs_left_out
    more = number_of(lost, "more is left out", "more are left out")
    without = f"; {more}, as the model does not predict them" if lost else ""
    who = number_of(n, f"{what} has", f"{what}s have")
    return (
        f"{who} {number_of(found.n_pairs, 'label')}, each explained and scored by itself: an "
        f"{what}'s value is their mean{without}{_on_regions(found.n_one_region, what)}"
    )


def _on_regions(n: int, what: str) -> str:
    """
    >>> _on_regions(1, "image")
    '; localization: in 1 image one annotated region stands for all its classes'
    """
    if not n:
        return ""
    whose = "its" if n == 1 else "their"
    some = number_of(n, what)
    return f"; localization: in {some} one annotated region stands for all {whose} classes"


def _text(found: Evaluation, count: Count, n_seen: int, what: str) -> str:
    own = {r: n - found.reasons.get(r, 0) for r, n in count.reasons.items()}
    said = ", ".join(f"{n} ({reason})" for reason, n in own.items() if n)
    return f"from {count.n} of {number_of(n_seen, what)}; left out: {said}"
