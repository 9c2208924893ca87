"""Whether one method's values differ from another's on the same examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats
from torch import Tensor

from captum_ext.metrics.bootstrap import bootstrap, middle
from captum_ext.metrics.compare import holm


@dataclass(frozen=True)
class Difference:
    """A method against another, example by example.

    Args:
        mean: of the differences; above 0 where the method's values are larger.
        low, high: ends of the 95 % bootstrap interval of the mean.
        p_value: of Wilcoxon's signed-rank test, corrected by Holm over the methods compared.
        effect: the rank-biserial correlation: 1 where every example's value is larger, -1 where
            every one is smaller.
        n: how many examples have both values.

    >>> import torch
    >>> values = {"a": torch.tensor([1.0, 2.0, 3.0]), "b": torch.tensor([2.0, 4.0, 6.0])}
    >>> difference = differences(values, "a")["b"]
    >>> difference.mean, difference.low <= 2 <= difference.high, difference.n
    (2.0, True, 3)
    """

    mean: float
    low: float
    high: float
    p_value: float
    effect: float
    n: int


def differences(values: Mapping[str, Tensor], against: str) -> dict[str, Difference]:
    """Every method against one of them, over the examples where both are defined.

    Args:
        values: by method, (N,), of the same examples in the same order; nan is undefined.
        against: the method that others are compared with.

    >>> import torch
    >>> values = {"a": torch.tensor([1.0, 2.0, 3.0]), "b": torch.tensor([2.0, 4.0, 6.0])}
    >>> found = differences(values, "a")["b"]
    >>> found.mean, found.p_value, found.effect
    (2.0, 0.25, 1.0)
    """
    if against not in values:
        raise ValueError(f"`against` is one of {[*values]}, but got {against!r}.")
    found = {k: _against(v.double() - values[against].double())
             for k, v in values.items() if k != against}  # fmt: skip
    # What can't be tested is no test, and is not corrected for.
    tested = [name for name, one in found.items() if one.p_value == one.p_value]
    corrected = {name: found[name].p_value for name in found}
    corrected |= zip(tested, holm([found[name].p_value for name in tested]), strict=True)
    return {
        name: Difference(one.mean, one.low, one.high, corrected[name], one.effect, one.n)
        for name, one in found.items()
    }


def _against(gaps: Tensor) -> Difference:
    known = gaps[~gaps.isnan()]
    nan = float("nan")
    if len(known) < 2:
        return Difference(nan, nan, nan, nan, nan, len(known))
    means = bootstrap(lambda drawn: known[drawn].mean(1), len(known))
    low, high = middle(means, 0.95)
    if not known.any():
        return Difference(0.0, 0.0, 0.0, 1.0, 0.0, len(known))
    moved = known[known != 0].numpy()
    ranks = stats.rankdata(np.abs(moved))
    effect = float((ranks * np.sign(moved)).sum() / ranks.sum())
    p_value = float(stats.wilcoxon(moved).pvalue)
    return Difference(float(known.mean()), float(low), float(high), p_value, effect, len(known))
