"""Which method is best by a score, and whether the score can tell the methods apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from torch import Tensor

from captum_ext.metrics.base.compare import SIGNIFICANT, limit_of, paired


@dataclass(frozen=True)
class Standing:
    """The methods by one score.

    Args:
        first: the method of the best value; None where no method has one or none is better.
        tied: those whose difference from it does not count.
        open: those of which the examples do not say that it is better.
        behind: those that are shown to be worse.
        apart: whether any two methods are told apart.
        untested: why differences were not tested; "" where they were.
        limit: why no difference can be significant; "" where one can.
        smallest: the smallest difference that counts.
    """

    first: str | None
    tied: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    apart: bool = False
    untested: str = ""
    limit: str = ""
    smallest: float = 0.0

    @property
    def best(self) -> str | None:
        """The method that is shown to be better than every other; None if there is no such."""
        return self.first if self.behind and not (self.tied or self.open) else None

    def sentence(self, labels: Mapping[str, str]) -> str:
        """What can be said, and no more.

        >>> Standing("a", tied=("b",), smallest=0.005).sentence({})
        'all tied, within 0.005: this score cannot tell these methods apart'
        >>> Standing("a", open=("b",), behind=("c",), apart=True).sentence({"b": "B"})
        'a, not told apart from B; better than c'
        """

        def names(methods: tuple[str, ...]) -> str:
            return ", ".join(labels.get(m, m) for m in methods)

        if self.first is None:
            return self.untested
        first = names((self.first,))
        if self.untested:
            return f"{first} has the best value, but {self.untested}"
        if not (self.tied or self.open or self.behind):
            return f"{first}, the only method"
        if not self.apart:
            if not self.open:
                return f"all tied, within {self.smallest:.2g}: this score cannot tell these " \
                    "methods apart"  # fmt: skip
            why = self.limit or f"no difference that counts has p < {SIGNIFICANT}"
            return f"{first} has the best value, but this score cannot tell these methods apart " \
                f"on these images: {why[:1].lower()}{why[1:]}"  # fmt: skip
        parts = [f"tied with {names(self.tied)}"] if self.tied else []
        parts += [f"not told apart from {names(self.open)}"] if self.open else []
        beaten = f"better than {names(self.behind)}" if self.behind else ""
        if not parts:
            return f"{first}, {beaten}"
        return f"{first}, {' and '.join(parts)}" + (f"; {beaten}" if beaten else "")


def standing(
    scores: Mapping[str, float],
    values: Mapping[str, Tensor],
    higher_is_better: bool | None,
    smallest: float,
) -> Standing:
    """Where the methods stand by a score.

    The method of the best value is compared with every other. Holm's correction is for all pairs
    of methods, as any of them might have come out first.

    Args:
        scores: by method, nan where it has none.
        values: by method, (N,), of the same examples in the same order; empty where it has none.
        higher_is_better: None where it isn't said.
        smallest: the smallest difference that counts.

    >>> import torch
    >>> values = {"a": torch.arange(8.0), "b": torch.arange(8.0) + 1}
    >>> standing({"a": 3.5, "b": 4.5}, values, True, 0.1).best
    'b'
    """
    known = {method: score for method, score in scores.items() if score == score}
    if not known or higher_is_better is None:
        why = "it is not said whether higher is better" if known else "no method has a value"
        return Standing(None, untested=why)
    first = (max if higher_is_better else min)(known, key=known.__getitem__)
    others = tuple(method for method in known if method != first)
    values = {method: v for method, v in values.items() if method in known}
    if not values:
        why = "differences are not tested: it has no value per image"
        return Standing(first, open=others, untested=why)
    pairs = paired(values, [*combinations([first, *others], 2)], smallest, about=first)
    mine = {pair.second: pair.verdict for pair in pairs if pair.first == first}
    good = "higher" if higher_is_better else "lower"
    return Standing(
        first,
        tied=tuple(m for m in others if mine[m] == "tied"),
        open=tuple(m for m in others if mine[m] not in ("tied", good)),
        behind=tuple(m for m in others if mine[m] == good),
        apart=any(pair.verdict in ("higher", "lower", "mixed") for pair in pairs),
        limit=limit_of([(pair.n_examples, pair.p_value) for pair in pairs], "image"),
        smallest=smallest,
    )
