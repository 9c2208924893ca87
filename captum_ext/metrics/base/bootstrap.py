"""Bootstrap intervals over examples: the one way in which a number gets its interval."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from captum_ext._numbers import real, whole
from captum_ext._random import seed_of

LEVEL = 0.95
N_SAMPLES = 2000
# At 5 examples 95 % intervals of skewed means cover .83 to .90, at 6 .85 to .93; and 6 are the
# fewest of which Wilcoxon's test can tell anything.
MIN_EXAMPLES = 6
# Leaving each example out takes n^2 numbers, and BCa's ends differ from percentiles by 1 / n.
_BCA_AT_MOST = 500
_DRAWS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Statistic:
    """A number of a sample of examples, and of every resample of it.

    Args:
        n_examples: how many examples there are.
        of: from the examples drawn, (samples, any number) below ``n_examples``, to (samples,).
        is_mean: whether it is a mean over examples, and no median or bin.
    """

    n_examples: int
    of: Callable[[Tensor], Tensor]
    is_mean: bool = True

    @property
    def value(self) -> Tensor:
        """The number of all examples, a scalar; nan without any."""
        if self.n_examples == 0:
            return torch.tensor(torch.nan)
        return self.of(torch.arange(self.n_examples)[None])[0]


def mean_of(values: Tensor) -> Statistic:
    """The mean of the values, (N,), that are not nan.

    >>> mean_of(torch.tensor([1.0, torch.nan, 3.0])).value
    tensor(2.)
    """
    # Sorted, so that an interval does not depend on the order of the examples.
    known = values[~values.isnan()].sort().values.cpu()
    return Statistic(len(known), lambda drawn: known[drawn].mean(1))


def interval(
    statistic: Statistic, level: float = LEVEL, n_samples: int = N_SAMPLES, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """The ends of a bootstrap interval; nan with fewer than `MIN_EXAMPLES` examples.

    Of a mean: bias-corrected and accelerated (BCa; Efron, JASA 1987). Of a median, or of points
    in bins: percentiles, as leaving one example out, from which BCa takes the acceleration,
    says little of an order statistic. Both at the level at which percentiles of a mean are as
    wide as Student's t interval (Hesterberg, The American Statistician 2015, the
    expanded percentile interval), since
    resamples of n examples vary by too little, by a share of 1 / n, and have no t's tails.
    ``benchmarks/interval_coverage.py`` counts how often each holds the truth.

    Args:
        statistic: of the examples.
        level: share of samples whose interval shall hold the truth, between 0 and 1.
        n_samples: how many resamples.
        seed: of the resamples; the global random state has no part in them.

    >>> low, high = interval(mean_of(torch.arange(9.0)))
    >>> bool(low < 4 < high), interval(mean_of(torch.arange(5.0)))
    (True, (tensor(nan), tensor(nan)))
    """
    if not 0 < real("level", level) < 1:
        raise ValueError(f"`level` is the share inside the interval, in (0, 1), but got {level}.")
    if whole("n_samples", n_samples) < 1:
        raise ValueError(f"`n_samples` counts resamples, at least 1, but got {n_samples}.")
    n = statistic.n_examples
    if n < MIN_EXAMPLES:
        return torch.tensor(torch.nan), torch.tensor(torch.nan)
    widened = 2 * float(stats.norm.cdf(sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1))) - 1

    def of(drawn: Any, axis: int = -1) -> Any:
        # A copy: scipy may hand out what can't be written to, which torch doesn't take.
        rows = torch.tensor(np.atleast_2d(drawn))
        return statistic.of(rows).numpy().reshape(np.shape(drawn)[:-1])

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # What scipy warns of, ends that are nan, is dealt with below.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (np.arange(n),),
            of,
            vectorized=True,
            n_resamples=n_samples,
            batch=max(1, _DRAWS_AT_ONCE // n),
            confidence_level=widened,
            method="BCa" if statistic.is_mean and n <= _BCA_AT_MOST else "percentile",
            random_state=np.random.default_rng(seed_of(seed) % 2**64),
        )
    ends = np.array(found.confidence_interval)
    if np.isnan(ends).any():
        # BCa divides by the spread of the examples: equal ones have an interval of one point.
        ends = np.nanquantile(found.bootstrap_distribution, [(1 - widened) / 2, (1 + widened) / 2])
    low, high = torch.from_numpy(ends).to(statistic.value.dtype)
    return low, high


def ends_of_mean(values: Tensor) -> tuple[float, float]:
    """The 95 % interval of the mean of what is not nan; nan with too few values.

    >>> ends_of_mean(torch.tensor([1.0]))
    (nan, nan)
    """
    low, high = interval(mean_of(values))
    return float(low), float(high)


def too_few(n_examples: int) -> str:
    """Why so many examples have no interval; nothing where they have one.

    >>> too_few(5), too_few(6)
    ('no interval: 5 of the 6 examples that one needs', '')
    """
    if n_examples >= MIN_EXAMPLES:
        return ""
    return f"no interval: {n_examples} of the {MIN_EXAMPLES} examples that one needs"
