"""What ``sanity`` prints: similarities by method and stage."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from captum_ext.metrics import ParameterRandomization, bootstrap
from captum_ext.metrics.means import by_example
from captum_ext.viz import Cascade

Record = dict[str, Any]


def table(checks: dict[str, ParameterRandomization]) -> list[Record]:
    """A record for each method and stage: similarities and the share of weights changed."""
    records = []
    for name, check in checks.items():
        found = {key: by_stage(values) for key, values in check.per_example.items()}
        for k, row in enumerate(check.report):
            record = {"method": name, "stage": row["stage"], "changed": row["changed"]}
            for key, (mean, low, high) in found.items():
                record |= {key: mean[k], f"{key}_low": low[k], f"{key}_high": high[k]}
            records.append(record)
    return records


def by_stage(values: Tensor) -> tuple[list[float], list[float], list[float]]:
    """The mean of each stage, and the ends of its 95 % bootstrap interval over images.

    Args:
        values: (images, stages), nan where undefined.

    >>> import torch
    >>> by_stage(torch.tensor([[0.5]] * 6))
    ([0.5], [0.5], [0.5])
    """
    ends = [interval(column) for column in values.unbind(1)]
    lows, highs = ([end[side] for end in ends] for side in (0, 1))
    return values.nanmean(0).tolist(), lows, highs


def interval(values: Tensor) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of what is not nan; nan with too few values.

    >>> import torch
    >>> interval(torch.tensor([1.0]))
    (nan, nan)
    """
    low, high = bootstrap.interval(bootstrap.mean_of(values))
    return float(low), float(high)


def cascade(label: str, check: ParameterRandomization) -> Cascade:
    """A method's row of the figure."""
    similarity = {key: by_stage(values) for key, values in check.per_example.items()}
    stages = tuple(row["stage"] for row in check.report)
    return Cascade(label, stages, check.maps[0], similarity)


def as_text(
    records: list[Record],
    similarity: list[str],
    labels: dict[str, str],
    checks: dict[str, ParameterRandomization],
) -> str:
    """Each method's mean over stages, then all stages."""
    lines = [f"{'mean over stages':20}" + "".join(f"{key:>24}" for key in similarity)]
    for name, label in labels.items():
        cells = ""
        for key in similarity:
            means = by_example(checks[name].per_example[key])
            low, high = interval(means)
            ends = f" [{low:.2f}, {high:.2f}]" if low == low else ""
            cells += f"{f'{float(means.nanmean()):.3f}{ends}':>24}"
        lines.append(f"{label:20}{cells}")
    heads = "".join(f"{label[:17]:>18}" for label in labels.values())
    lines += ["", f"{'stage: ' + similarity[0]:28}{'weights changed':>16}{heads}"]
    columns = [[r for r in records if r["method"] == name] for name in labels]
    for rows in zip(*columns, strict=True):
        values = [row[similarity[0]] for row in rows]
        cells = "".join(f"{v:>18.3f}" if v == v else f"{'-':>18}" for v in values)
        lines.append(f"{rows[0]['stage'][-28:]:28}{rows[0]['changed']:>16.1%}{cells}")
    if any(r[key] != r[key] for r in records for key in similarity):
        lines.append("-: undefined, since a map is constant; left out of the mean")
    n_images = min(len(v) for check in checks.values() for v in check.per_example.values())
    if reason := bootstrap.too_few(n_images):
        lines.append(reason.replace("example", "image"))
    return "\n".join(lines)
