"""Curves over a data set: points of all examples in bins of x."""

from __future__ import annotations

from math import lcm

import torch
from torch import Tensor


class BinnedPoints:
    """Points of N examples sorted into equal bins of x in [0, 1].

    A bin's y is the mean or median of its points; empty bins are interpolated linearly
    between filled ones and continue the outermost filled one beyond. An example of k rows has
    the weight of one: each of its points counts 1 / k.

    Args:
        x, y: (M, points).
        n_bins: how many bins.
        median: the median of each bin instead of its mean.
        owner: which example each row is of, (M,), from 0 and rising; None is an example a row.

    >>> x, y = torch.tensor([[0.1, 0.9]]), torch.tensor([[0.0, 1.0]])
    >>> BinnedPoints(x, y, n_bins=4).values(torch.tensor([[0]]))
    tensor([[0.0000, 0.3333, 0.6667, 1.0000]])
    """

    def __init__(
        self, x: Tensor, y: Tensor, n_bins: int, median: bool = False, owner: Tensor | None = None
    ) -> None:
        owner = torch.arange(len(x)) if owner is None else owner
        n_rows = owner.bincount()
        self.n_bins, self.median, self.n_examples = n_bins, median, len(n_rows)
        # Whole numbers, so that the middle of a median is a place.
        self.shares = torch.tensor(lcm(*n_rows.tolist()), dtype=y.dtype) / n_rows
        # 1 itself, where every curve ends, belongs to the last bin.
        bins = (x * n_bins).long().clamp(0, n_bins - 1).flatten()
        owners = owner.repeat_interleave(x.shape[1])
        # By bin and by y within a bin, so that a median is a place in the row.
        order = y.flatten().argsort(stable=True)
        order = order[bins[order].argsort(stable=True)]
        self.bins, self.y, self.owners = bins[order], y.flatten()[order], owners[order]
        self.ends = torch.searchsorted(self.bins, torch.arange(n_bins), right=True)

    @property
    def n_filled(self) -> int:
        """How many bins hold at least one point."""
        return len(torch.unique(self.bins))

    @property
    def centers(self) -> Tensor:
        """The middle of each bin, (n_bins,)."""
        return ((torch.arange(self.n_bins) + 0.5) / self.n_bins).to(self.y)

    def areas(self, drawn: Tensor) -> Tensor:
        """Area under the curve of each resample of the examples, (samples,)."""
        # A few resamples at a time bound the memory that sorted points take.
        size = max(1, 4_000_000 // max(1, len(self.y)))
        return torch.cat([self.values(part).mean(1) for part in torch.split(drawn, size)])

    def values(self, drawn: Tensor) -> Tensor:
        """The curve of each resample: y per bin, (samples, n_bins)."""
        often = torch.zeros(len(drawn), self.n_examples, dtype=self.y.dtype)
        often.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=self.y.dtype))
        weights = (often * self.shares)[:, self.owners]
        ends = _running(weights)[:, self.ends]
        starts = torch.cat([ends.new_zeros(len(ends), 1), ends[:, :-1]], 1)
        totals = ends - starts
        if self.median:
            middle = self._middle(weights, starts, totals)
        else:
            sums = _running(weights * self.y)[:, self.ends]
            middle = sums.diff(dim=1, prepend=sums.new_zeros(len(sums), 1)) / totals
        return _fill(middle, totals > 0)

    def _middle(self, weights: Tensor, starts: Tensor, totals: Tensor) -> Tensor:
        upto = weights.cumsum(1)
        places = (starts + ((totals - 1) / 2).floor(), starts + (totals / 2).floor())
        last = len(self.y) - 1
        pair = [
            self.y[torch.searchsorted(upto, place, right=True).clamp_max(last)] for place in places
        ]
        return (pair[0] + pair[1]) / 2


def _running(values: Tensor) -> Tensor:
    """Running sums, a 0 first."""
    return torch.nn.functional.pad(values.cumsum(1), (1, 0))


def _fill(values: Tensor, filled: Tensor) -> Tensor:
    """Linear interpolation over unfilled columns."""
    columns = torch.arange(values.shape[1]).expand_as(values)
    last = values.shape[1]
    before = torch.where(filled, columns, -1).cummax(1).values
    after = torch.where(filled, columns, last).flip(1).cummin(1).values.flip(1)
    before, after = (
        torch.where(before < 0, after, before),
        torch.where(after == last, before, after),
    )
    low, high = (
        values.gather(1, before.clamp(0, last - 1)),
        values.gather(1, after.clamp(0, last - 1)),
    )
    share = torch.where(after > before, (columns - before) / (after - before), 0.0)
    return low + share.to(low) * (high - low)
