"""Whether a method's values differ from another's on the same examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from captum_ext.metrics.base.compare import SMALLEST, paired, smallest_of


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
    values: Mapping[str, Tensor], against: str, smallest: float = SMALLEST
) -> dict[str, Difference]:
    """Every method against one of them, over the examples where both are defined.

    Args:
        values: by method, (N,), of the same examples in the same order; nan is undefined.
        against: the method that others are compared with.
        smallest: the smallest mean difference that counts, as a share of the score's range.

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
        for one in paired(values, pairs, smallest_of(values, smallest))
    }  # fmt: skip
