"""`compare`: which of several methods is better, pair by pair, example by example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats
from torch import Tensor

from captum_ext._text import line, number_of
from captum_ext.metrics.base.bootstrap import LEVEL, N_SAMPLES, interval, mean_of
from captum_ext.metrics.base.example import ExampleMetric
from captum_ext.metrics.base.means import ScalarMetric, TableMetric, by_example

SIGNIFICANT = 0.05
"""A p-value below is no chance; after Holm's correction."""
SMALLEST = 0.005
"""The smallest mean difference that counts, as a share of the score's range."""

# scipy's own bound: above, the normal approximation is close and the sums take n^2 numbers.
_EXACT_AT_MOST = 50
_WIDTHS = (6, 9, 20, 10, 8)


@dataclass(frozen=True)
class PairedDifference:
    """Two methods over the examples where both are defined.

    Args:
        first, second: their names.
        n_examples: how many examples both are defined for.
        difference: mean of first minus second; nan without an example.
        interval: its paired bootstrap interval; nan with fewer than six examples.
        p_value: of Wilcoxon's signed-rank test, two-sided, before correction; nan without an
            example.
        p_holm: after Holm's correction for all pairs.
        effect_size: matched-pairs rank-biserial correlation, 1 if first is always higher, -1
            if always lower.
        per_example: first minus second, (N,), nan where one is undefined.
        smallest: the smallest mean difference that counts.

    >>> import torch
    >>> gaps = torch.tensor([0.4, 0.1, 0.2, 0.3, 0.5, 0.6])
    >>> PairedDifference("a", "b", 6, 0.35, (0.2, 0.5), 0.03, 0.03, 1.0, gaps, 0.01).verdict
    'higher'
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
    smallest: float = 0.0

    @property
    def verdict(self) -> str:
        """What can be said of first.

        "higher" or "lower": the test tells the methods apart, and mean and effect agree.
        "mixed": it tells them apart, but most examples say one thing and the mean another.
        "tied": a difference that doesn't count, as the test tells it from none or the interval
        holds no larger one. "open": the examples don't say.
        """
        counts = abs(self.difference) >= self.smallest and self.difference != 0
        if self.p_holm < SIGNIFICANT and counts:
            agree = (self.difference > 0) == (self.effect_size > 0)
            return ("higher" if self.difference > 0 else "lower") if agree else "mixed"
        if self.n_examples and (self.p_holm < SIGNIFICANT or self._never_counts):
            return "tied"
        return "open"

    @property
    def _never_counts(self) -> bool:
        known = self.per_example[~self.per_example.isnan()]
        within = max(abs(end) for end in self.interval) < self.smallest
        return within or bool((known.abs() < self.smallest).all()) or not known.any()


@dataclass(frozen=True)
class Comparison:
    """All pairs of some methods; printed as a table."""

    pairs: tuple[PairedDifference, ...]

    def __str__(self) -> str:
        heads = ("n", "mean", "interval", "p (Holm)", "effect")
        rows = [(("difference", *heads), "verdict")]
        rows += [
            (
                (
                    f"{p.first} - {p.second}",
                    f"{p.n_examples}",
                    f"{p.difference:.4f}",
                    f"[{p.interval[0]:.4f}, {p.interval[1]:.4f}]",
                    f"{p.p_holm:.2g}",
                    f"{p.effect_size:.2f}",
                ),
                p.verdict,
            )
            for p in self.pairs
        ]
        table = [f"{line(cells[0], cells[1:], 32, _WIDTHS)} {end}" for cells, end in rows]
        smallest = f"Mean differences below {self.pairs[0].smallest:.2g} do not count."
        limit = limit_of([(p.n_examples, p.p_value) for p in self.pairs])
        return "\n".join([*table, smallest, *([f"{limit}."] if limit else [])])


def compare(
    metrics: Mapping[str, ExampleMetric],
    score: str | None = None,
    level: float = LEVEL,
    n_samples: int = N_SAMPLES,
    seed: int = 0,
    smallest: float = SMALLEST,
) -> Comparison:
    """Compares methods by metrics that have seen the same examples in the same order.

    Args:
        metrics: by name of the method; two or more of one kind.
        score: which number of a metric that has several, such as `Localization`.
        level: of the intervals.
        n_samples: how many resamples.
        seed: of the resampling.
        smallest: the smallest mean difference that counts, as a share of the score's range: 1
            where all values lie in [0, 1], 2 where they lie in [-1, 1], else, and of metrics of
            ``reading="score"``, from the least to the greatest.

    Raises:
        ValueError: with fewer than two metrics, different numbers of examples, or a metric
            without values per example.

    >>> import torch
    >>> from captum_ext.metrics import Insertion
    >>> good, bad = (Insertion(lambda x: x.mean(1, keepdim=True), n_steps=4) for _ in range(2))
    >>> table = torch.rand(9, 4)
    >>> good.update(table, table, target=0)
    >>> bad.update(table, -table, target=0)
    >>> (pair,) = compare({"good": good, "bad": bad}).pairs
    >>> pair.n_examples, pair.effect_size, pair.p_holm < 0.05, pair.verdict
    (9, 1.0, True, 'higher')
    """
    if len(metrics) < 2:
        raise ValueError(f"`metrics` are two or more to compare, but got {list(metrics)}.")
    values = {name: _values_of(metric, score) for name, metric in metrics.items()}
    counts = {name: len(v) for name, v in values.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"`metrics` must have seen the same examples, but saw {counts}.")
    bounded = not any(_reads_scores(metric) for metric in metrics.values())
    least = smallest_of(values, smallest, bounded)
    return Comparison(paired(values, [*combinations(values, 2)], least, level, n_samples, seed))


def _reads_scores(metric: ExampleMetric) -> bool:
    """Whether a metric reads answers that are no probabilities, so that no range is known."""
    return getattr(metric, "protocol", {}).get("reading") == "score"


def _values_of(metric: ExampleMetric, score: str | None) -> Tensor:
    if isinstance(metric, TableMetric):
        tables = metric.per_example
        if score not in tables:
            raise ValueError(f"`score` is one of {[*tables]}, but got {score!r}.")
        return by_example(tables[score])
    if not isinstance(metric, ScalarMetric):
        raise TypeError(
            f"`metrics` are metrics of captum_ext.metrics, but got {type(metric).__name__}."
        )
    return metric.per_example


@dataclass(frozen=True)
class Difference:
    """A method against another, example by example.

    Args:
        mean: of the differences; above 0 where the method's values are larger.
        low, high: ends of the 95 % bootstrap interval of the mean; nan with fewer than six
            examples.
        p_value: of Wilcoxon's signed-rank test, corrected by Holm over the methods compared.
        effect: the rank-biserial correlation: 1 where every example's value is larger, -1 where
            every one is smaller.
        n: how many examples have both values.
        verdict: "higher", "lower", "mixed", "tied" or "open", as
            `captum_ext.metrics.PairedDifference.verdict`.

    >>> import torch
    >>> values = {"a": torch.arange(6.0), "b": torch.arange(6.0) * 2 + 1}
    >>> difference = differences(values, "a")["b"]
    >>> difference.mean, difference.low <= 3.5 <= difference.high, difference.n, difference.verdict
    (3.5, True, 6, 'higher')
    """

    mean: float
    low: float
    high: float
    p_value: float
    effect: float
    n: int
    verdict: str = "open"


def differences(
    values: Mapping[str, Tensor], against: str, smallest: float = SMALLEST, bounded: bool = True
) -> dict[str, Difference]:
    """Every method against one of them, over the examples where both are defined.

    Args:
        values: by method, (N,), of the same examples in the same order; nan is undefined.
        against: the method that others are compared with.
        smallest: the smallest mean difference that counts, as a share of the score's range.
        bounded: whether the range is known where values lie in [-1, 1].

    >>> import torch
    >>> values = {"a": torch.tensor([1.0, 2.0, 3.0]), "b": torch.tensor([2.0, 4.0, 6.0])}
    >>> found = differences(values, "a")["b"]
    >>> found.mean, found.p_value, found.effect, found.verdict
    (2.0, 0.25, 1.0, 'open')
    """
    if against not in values:
        raise ValueError(f"`against` is one of {[*values]}, but got {against!r}.")
    pairs = [(name, against) for name in values if name != against]
    return {
        one.first: Difference(one.difference, *one.interval, one.p_holm, one.effect_size,
                              one.n_examples, one.verdict)
        for one in paired(values, pairs, smallest_of(values, smallest, bounded))
    }  # fmt: skip


def smallest_of(
    values: Mapping[str, Tensor], share: float = SMALLEST, bounded: bool = True
) -> float:
    """The smallest mean difference that counts: a share of the range of all values.

    ``bounded`` values that lie in [0, 1] or [-1, 1] have that range; scores in any unit have what
    is seen of them.

    >>> import torch
    >>> smallest_of({"a": torch.tensor([0.2, 0.9])}), smallest_of({"a": torch.tensor([1.0, 5.0])})
    (0.005, 0.02)
    """
    if not 0 <= share < 1:
        raise ValueError(f"`smallest` is a share of the score's range, in [0, 1), but got {share}.")
    known = np.concatenate([v.detach().cpu().double().numpy().ravel() for v in values.values()])
    known = known[np.isfinite(known)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    if bounded and low >= -1 and high <= 1:
        return share * (1.0 if low >= 0 else 2.0)
    return share * float(high - low)


def paired(
    values: Mapping[str, Tensor],
    pairs: Sequence[tuple[str, str]],
    smallest: float,
    level: float = LEVEL,
    n_samples: int = N_SAMPLES,
    seed: int = 0,
    about: str | None = None,
) -> tuple[PairedDifference, ...]:
    """Pairs of methods, corrected by Holm for all of them.

    Args:
        values: by method, (N,), of the same examples in the same order; nan is undefined.
        pairs: of methods, first and second.
        smallest: the smallest mean difference that counts.
        level, n_samples, seed: of the intervals.
        about: a method: pairs without it get no interval, which takes most of the time.
    """
    gaps = [(values[a] - values[b]).detach().cpu().double() for a, b in pairs]
    tests = [signed_ranks(gap) for gap in gaps]
    corrected = holm([p for p, _ in tests])
    rows = []
    for (a, b), gap, (p, effect), p_holm in zip(pairs, gaps, tests, corrected, strict=True):
        mean = mean_of(gap)
        ends = (float("nan"), float("nan"))
        if about is None or about in (a, b):
            low, high = interval(mean, level, n_samples, seed)
            ends = float(low), float(high)
        row = (a, b, mean.n_examples, float(mean.value), ends, p, p_holm, effect, gap, smallest)
        rows.append(PairedDifference(*row))
    return tuple(rows)


def signed_ranks(gaps: Tensor) -> tuple[float, float]:
    """Wilcoxon's p and the rank-biserial correlation; nan without an example.

    >>> import torch
    >>> signed_ranks(torch.tensor([0.1, 0.2, -0.3, 0.4, 0.5, 0.6]))
    (0.15625, 0.7142857142857143)
    """
    known = gaps[~gaps.isnan()].numpy()
    if len(known) == 0:
        return float("nan"), float("nan")
    # Wilcoxon's own way with zeros: an example without a difference speaks for neither side.
    moved = known[known != 0]
    if len(moved) == 0:
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(moved))
    effect = float((ranks * np.sign(moved)).sum() / ranks.sum())
    if len(moved) > _EXACT_AT_MOST:
        return float(stats.wilcoxon(moved).pvalue), effect
    return _exact_p(ranks, moved > 0), effect


def _exact_p(ranks: np.ndarray, positive: np.ndarray) -> float:
    """Wilcoxon's two-sided p over all 2^n signs, where equals share a rank.

    scipy's is exact without ties. With them it is a normal approximation, which finds p < 0.05
    in five examples where 0.0625 is the least, or in newer versions tries every sign one by one:
    2 s for 13 examples. Counting the ways to each sum takes no time.
    """
    doubled = (2 * ranks).astype(int)
    ways = np.zeros(doubled.sum() + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] = (ways[rank:] + ways[:-rank]) / 2
        ways[:rank] /= 2
    reached = doubled[positive].sum()
    return float(min(1.0, 2 * min(ways[: reached + 1].sum(), ways[reached:].sum())))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values that may be compared with one level.

    What could not be tested, nan, is no test: it stays nan and is not corrected for.

    >>> holm([0.01, 0.04, float("nan"), 0.03])
    [0.03, 0.06, nan, 0.06]
    """
    given = np.asarray(p_values, dtype=float)
    (tested,) = np.nonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected = np.full(len(given), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1.0)
    return corrected.tolist()


def n_needed(n_tests: int) -> int:
    """The fewest examples of which one of ``n_tests`` corrected tests can reach p < 0.05.

    Wilcoxon's p is 2 / 2^n where all n examples agree.

    >>> [n_needed(n) for n in (1, 2, 17)]
    [6, 7, 10]
    """
    n = 1
    while 2.0 ** (1 - n) * n_tests >= SIGNIFICANT:
        n += 1
    return n


def limit_of(tests: Iterable[tuple[int, float]], what: str = "example") -> str:
    """Why none of some tests can be significant; nothing where one can.

    Args:
        tests: of each how many examples it is of, and its p-value; nan was not tested.
        what: an example's word.

    >>> limit_of([(5, 0.1), (0, float("nan"))])
    'No difference can reach p < 0.05 with 5 examples: 1 comparison needs 6'
    """
    tested = [n for n, p in tests if p == p]
    return out_of_reach(max(tested, default=0), len(tested), what)


def out_of_reach(n_examples: int, n_tests: int, what: str = "example") -> str:
    """Says that no difference can be significant with so few examples; nothing where one can.

    >>> out_of_reach(5, 1)
    'No difference can reach p < 0.05 with 5 examples: 1 comparison needs 6'
    >>> out_of_reach(6, 1)
    ''
    """
    if n_tests == 0 or n_examples >= n_needed(n_tests):
        return ""
    needs = number_of(n_tests, "comparison needs", "comparisons need")
    return (
        f"No difference can reach p < {SIGNIFICANT} with {number_of(n_examples, what)}: {needs} "
        f"{n_needed(n_tests)}"
    )
