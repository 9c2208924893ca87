"""`compare`: which of several methods is better, pair by pair, example by example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats
from torch import Tensor

from captum_ext.metrics.base import ExampleMetric
from captum_ext.metrics.bootstrap import bootstrap, middle
from captum_ext.metrics.means import ScalarMetric, TableMetric


@dataclass(frozen=True)
class PairedDifference:
    """Two methods over the examples where both are defined.

    Args:
        first, second: their names.
        n_examples: how many examples both are defined for.
        difference: mean of first minus second.
        interval: its paired bootstrap interval.
        p_value: of Wilcoxon's signed-rank test, two-sided, before correction.
        p_holm: after Holm's correction for all pairs.
        effect_size: matched-pairs rank-biserial correlation, 1 if first is always higher, -1
            if always lower.
        per_example: first minus second, (N,), nan where one is undefined.
    """

    first: str
    second: str
    n_examples: int
    difference: float
    interval: tuple[float, float]
    p_value: float
    p_holm: float
    effect_size: float
    per_example: Tensor


@dataclass(frozen=True)
class Comparison:
    """All pairs of some methods; printed as a table."""

    pairs: tuple[PairedDifference, ...]

    def __str__(self) -> str:
        head = f"{'difference':<32} {'mean':>8} {'interval':>19} {'p (Holm)':>9} {'effect':>7}"
        rows = [
            f"{f'{p.first} - {p.second}':<32} {p.difference:>8.4f} "
            f"{f'[{p.interval[0]:.4f}, {p.interval[1]:.4f}]':>19} {p.p_holm:>9.2g} "
            f"{p.effect_size:>7.2f}"
            for p in self.pairs
        ]
        return "\n".join([head, *rows])


def compare(
    metrics: Mapping[str, ExampleMetric],
    score: str | None = None,
    level: float = 0.95,
    n_samples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compares methods by metrics that have seen the same examples in the same order.

    Args:
        metrics: by name of the method; two or more of one kind.
        score: which number of a metric that has several, such as `Localization`.
        level: share of the bootstrap inside the intervals.
        n_samples: how many resamples.
        seed: of the resampling.

    Raises:
        ValueError: with fewer than two metrics, different numbers of examples, fewer than two
            examples that a pair shares, or a metric without values per example.

    >>> import torch
    >>> from captum_ext.metrics import Insertion
    >>> good, bad = (Insertion(lambda x: x.mean(1, keepdim=True), n_steps=4) for _ in range(2))
    >>> table = torch.rand(9, 4)
    >>> good.update(table, table, target=0)
    >>> bad.update(table, -table, target=0)
    >>> (pair,) = compare({"good": good, "bad": bad}).pairs
    >>> pair.n_examples, pair.effect_size, pair.p_holm < 0.05
    (9, 1.0, True)
    """
    if len(metrics) < 2:
        raise ValueError(f"`metrics` are two or more to compare, but got {list(metrics)}.")
    values = {name: _values_of(metric, score) for name, metric in metrics.items()}
    counts = {name: len(v) for name, v in values.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"`metrics` must have seen the same examples, but saw {counts}.")
    found = [(a, b, (values[a] - values[b]).cpu().double()) for a, b in combinations(values, 2)]
    tests = [_signed_ranks(d[~d.isnan()].numpy()) for _, _, d in found]
    corrected = holm([p for p, _ in tests])
    pairs = []
    for (a, b, difference), (p_value, effect), p_holm in zip(found, tests, corrected, strict=True):
        known = difference[~difference.isnan()]

        def mean(drawn: Tensor, known: Tensor = known) -> Tensor:
            return known[drawn].mean(1)

        low, high = middle(bootstrap(mean, len(known), n_samples, seed), level)
        ends = (float(low), float(high))
        row = (a, b, len(known), float(known.mean()), ends, p_value, p_holm, effect, difference)
        pairs.append(PairedDifference(*row))
    return Comparison(tuple(pairs))


def _values_of(metric: ExampleMetric, score: str | None) -> Tensor:
    if isinstance(metric, TableMetric):
        tables = metric.per_example
        if score not in tables:
            raise ValueError(f"`score` is one of {[*tables]}, but got {score!r}.")
        table = tables[score]
        return table if table.dim() == 1 else table.nanmean(1)
    if not isinstance(metric, ScalarMetric):
        raise TypeError(
            f"`metrics` are metrics of captum_ext.metrics, but got {type(metric).__name__}."
        )
    return metric.per_example


def _signed_ranks(differences: np.ndarray) -> tuple[float, float]:
    """Wilcoxon's p and the rank-biserial correlation; zeros are left out."""
    nonzero = differences[differences != 0]
    if len(nonzero) == 0:
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(nonzero))
    effect = float((ranks * np.sign(nonzero)).sum() / ranks.sum())
    return float(stats.wilcoxon(nonzero).pvalue), effect


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values that may be compared with one level.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1.0)
    corrected = np.empty(len(p_values))
    corrected[order] = stepped
    return corrected.tolist()
