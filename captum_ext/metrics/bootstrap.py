"""Bootstrap intervals over examples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_DRAWS_AT_ONCE = 4_000_000


def bootstrap(
    statistic: Callable[[Tensor], Tensor], n_examples: int, n_samples: int = 2000, seed: int = 0
) -> Tensor:
    """A statistic of many resamples of the examples, (n_samples,).

    Args:
        statistic: from the examples drawn, (samples, n_examples) numbers below ``n_examples``,
            to one number per sample.
        n_examples: how many examples there are, at least 2.
        n_samples: how many resamples.
        seed: of the draws.

    >>> values = torch.tensor([0.0, 1.0, 2.0])
    >>> bootstrap(lambda draws: values[draws].mean(1), 3, n_samples=5).shape
    torch.Size([5])
    """
    if n_examples < 2:
        raise ValueError(
            "An interval needs at least 2 examples where the value is defined, but there "
            f"are {n_examples}: `update` with more examples, or see `excluded`."
        )
    if n_samples < 1:
        raise ValueError(f"`n_samples` counts resamples, at least 1, but got {n_samples}.")
    generator = torch.Generator().manual_seed(seed)
    size = max(1, _DRAWS_AT_ONCE // n_examples)
    parts = [min(size, n_samples - start) for start in range(0, n_samples, size)]
    draws = (torch.randint(n_examples, (n, n_examples), generator=generator) for n in parts)
    return torch.cat([statistic(d) for d in draws])


def middle(statistics: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """The ends of the middle ``level`` of the statistics, nan left out.

    >>> middle(torch.arange(101.0), 0.9)
    (tensor(5.), tensor(95.))
    """
    if not 0 < level < 1:
        raise ValueError(f"`level` is the share inside the interval, in (0, 1), but got {level}.")
    known = statistics[~statistics.isnan()]
    return known.quantile((1 - level) / 2), known.quantile((1 + level) / 2)
