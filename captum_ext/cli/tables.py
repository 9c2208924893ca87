"""What ``evaluate`` prints and writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from captum_ext.cli.output import whole_file
from captum_ext.evaluation import Evaluation
from captum_ext.evaluation.records import write_csv, write_parquet


def as_text(found: Evaluation, labels: Mapping[str, str], against: str) -> str:
    """The table, its scores marked where they differ from those of ``against``."""
    columns = [*found.columns]
    significance = found.significance(against)
    width = max(12, *(len(column) + 2 for column in columns))
    costs = ("seconds", "forwards", "gradients")
    head = f"{'method':20}" + "".join(f"{c:>{width}}" for c in (*columns, *costs))
    lines = [head]
    for record in found.records:
        method = record["method"]
        cells = []
        for column in columns:
            difference = significance.get(column, {}).get(method)
            star = "*" if difference and difference.p_value < 0.05 else " "
            cells.append(f"{record[column]:.3f}{star}")
        cells += [f"{record['seconds']:.2f} "] + [f"{record[c]:.0f} " for c in costs[1:]]
        lines.append(f"{labels[method]:20}" + "".join(f"{cell:>{width}}" for cell in cells))
    lines.append(
        f"{len(found.kept)} of {len(found.seen)} images; * differs from {labels[against]}: "
        "Wilcoxon signed-rank, Holm-corrected, p < 0.05. Costs are per image."
    )
    lines += [f"left out: {n} x {reason}" for reason, n in found.reasons.items()]
    return "\n".join(lines)


def write_all(
    found: Evaluation, folder: Path, labels: Mapping[str, str], against: str
) -> list[Path]:
    """Writes every file of a run, each whole or not at all."""
    written = [folder / "results.json", folder / "results.csv"]
    with whole_file(written[0]) as file:
        found.to_json(file, against)
    with whole_file(written[1]) as file:
        found.to_csv(file)
    parquet = folder / "per_example.parquet"
    with whole_file(parquet) as file:
        has_parquet = write_parquet(file, found.per_example)
    if not has_parquet:
        parquet.unlink(missing_ok=True)
        parquet = folder / "per_example.csv"
        with whole_file(parquet) as file:
            write_csv(file, found.per_example)
    pictures = [folder / "curves.png", folder / "report.html"]
    with whole_file(pictures[0]) as file:
        found.plot(labels).savefig(file, dpi=120)
    with whole_file(pictures[1]) as file:
        found.to_html(file, labels, against)
    return [*written, parquet, *pictures]
