"""What ``sanity`` prints: similarities by method and stage."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import Tensor, nn

from captum_ext._text import LINE, blocks, line, number, number_of, shortened
from captum_ext.metrics import ParameterRandomization, impostors
from captum_ext.metrics.base.bootstrap import ends_of_mean, too_few
from captum_ext.metrics.base.means import by_example
from captum_ext.metrics.sanity.plot import by_stage

Record = dict[str, Any]

_LEGEND = (
    "By chance: the original map beside itself moved elsewhere, what no relation would give. Image "
    "edges and\nrandom map are impostors that don't ask the model: the first fails, the second "
    "passes and explains nothing."
)
_FIRST, _WIDE, _CHANGED, _NARROW = 26, 24, 16, 19
"""Letters of the columns: names, intervals, shares of weights, and numbers."""
# A draw may hit a weight's old value, rarely.
_ALL = 0.999


def table(checks: dict[str, ParameterRandomization]) -> list[Record]:
    """A record for each method and stage: similarities and the share of weights changed."""
    records = []
    for name, check in checks.items():
        found = {key: by_stage(values) for key, values in check.per_example.items()}
        for k, row in enumerate(check.report):
            record = {"method": name, "stage": row["stage"], "changed": row["changed"]}
            for key, (mean, low, high) in found.items():
                record |= {key: mean[k], f"{key}_low": low[k], f"{key}_high": high[k]}
                record[f"{key}_chance"] = float(check.chance[key].nanmean())
                record[f"{key}_n"] = sum(not reason for reason in check.undefined[key])
                record[f"{key}_vanished"] = int(check.vanished[key][k])
            records.append(record)
    return records


def with_impostors(
    checks: dict[str, ParameterRandomization], model: nn.Module, images: Tensor
) -> dict[str, ParameterRandomization]:
    """The checks of methods, and after them those of `impostors`, under the same settings.

    Args:
        checks: by name of the method, filled.
        model, images: what filled them.
    """
    like = next(iter(checks.values()))
    found = dict(checks)
    for name, make in impostors(like.seed).items():
        found[name] = ParameterRandomization(
            make, like.order, like.similarity, like.seed, like.stages, keep_maps=1
        )
        for image in images:
            found[name].update(model, image[None])
    return found


def as_text(
    records: list[Record],
    similarity: list[str],
    labels: dict[str, str],
    checks: dict[str, ParameterRandomization],
) -> str:
    """Each method's mean over stages beside chance, all stages, and what has no value."""
    lines: list[str] = []
    for part in blocks(similarity, _WIDE, LINE - _FIRST):
        lines.append(line("mean over stages ↓", part, _FIRST, _WIDE))
        for name, label in labels.items():
            found, chance = checks[name].per_example, checks[name].chance
            cells = [_cell(by_example(found[key])) for key in part]
            lines.append(line(shortened(label, _FIRST - 1), cells, _FIRST, _WIDE))
            lines.append(line("  by chance", [_cell(chance[key]) for key in part], _FIRST, _WIDE))
        lines.append("")
    for names in blocks([*labels], _NARROW, LINE - _FIRST - _CHANGED):
        shown = {name: labels[name] for name in names}
        lines += [*_by_stage(records, similarity[0], shown, checks), ""]
    lines += [*remarks(labels, checks), _LEGEND]
    n_images = min(len(v) for check in checks.values() for v in check.per_example.values())
    if reason := too_few(n_images):
        lines.append(reason.replace("example", "image"))
    return "\n".join(lines)


def _by_stage(
    records: list[Record],
    key: str,
    labels: dict[str, str],
    checks: dict[str, ParameterRandomization],
) -> list[str]:
    """A similarity by stage, a column for each method."""
    start = _FIRST + _CHANGED
    head = f"{'stage: ' + key:{_FIRST}}{'weights changed':>{_CHANGED}}"
    lines = [line(head, [shortened(x, _NARROW - 1) for x in labels.values()], start, _NARROW)]
    columns = [[r for r in records if r["method"] == name] for name in labels]
    for k, rows in enumerate(zip(*columns, strict=True)):
        gone = [bool(checks[name].vanished[key][k]) for name in labels]
        cells = [number(row[key]) + "*" * star for row, star in zip(rows, gone, strict=True)]
        stage = rows[0]["stage"][1 - _FIRST :]
        lines.append(
            line(f"{stage:{_FIRST}}{rows[0]['changed']:>{_CHANGED}.1%}", cells, start, _NARROW)
        )
    by_chance = (float(checks[name].chance[key].nanmean()) for name in labels)
    return [*lines, line("by chance", map(number, by_chance), start, _NARROW)]


def remarks(labels: dict[str, str], checks: dict[str, ParameterRandomization]) -> list[str]:
    """What each method's numbers leave out or hide, a sentence each."""
    lines = []
    for name, label in labels.items():
        check = checks[name]
        n_images = len(next(iter(check.per_example.values())))
        missing: dict[tuple[str, int], list[str]] = {}
        for key, reasons in check.undefined.items():
            for counted in Counter(filter(None, reasons)).items():
                missing.setdefault(counted, []).append(key)
        for (reason, n), keys in missing.items():
            where = "" if keys == [*check.undefined] else f" in {', '.join(keys)}"
            who = f"{n} of {number_of(n_images, 'image')} {'has' if n == 1 else 'have'}"
            lines.append(f"{label}: {who} no value{where}: {reason}")
        gone = max(int(counts.sum()) for counts in check.vanished.values())
        if gone:
            lines.append(
                f"{label}: {gone} of {number_of(n_images * len(check.report), 'map')}, over images "
                "and stages, vanished (*), which is a change: their similarity is 0"
            )
        above = above_chance(check)
        if above:
            lines.append(
                f"{label}: with all weights drawn anew still more alike than by chance, in "
                f"{', '.join(above)}"
            )
    return lines


def above_chance(check: ParameterRandomization) -> list[str]:
    """The similarities that stay above chance when no weight is left, with 95 % confidence.

    None with too few images for an interval.
    """
    if check.report[-1]["changed"] < _ALL:
        return []
    excess = {key: v[:, -1] - check.chance[key] for key, v in check.per_example.items()}
    return [key for key, values in excess.items() if ends_of_mean(values)[0] > 0]


def _cell(values: Tensor) -> str:
    low, high = ends_of_mean(values)
    ends = f" [{low:.2f}, {high:.2f}]" if low == low else ""
    return number(float(values.nanmean())) + ends
