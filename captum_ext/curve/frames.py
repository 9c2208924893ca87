"""Frames: an input with more and more of its ranked features replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated as Shaped, Any, Protocol

import torch
from torch import Tensor

from captum_ext._typing import PerRow, Rows, Tensors
from captum_ext.curve.ranking import Ranking


@dataclass(frozen=True)
class Frames:
    """For each example a row of frames from ``start`` to ``end``, replaced in order of rank.

    Frame j of example i shows ``end`` where the rank is below ``counts[i, j]``, ``start``
    elsewhere. Frames are made in chunks when they are read, never all at once.

    Args:
        start, end: the two images, tables, ..., per input tensor, each (N, ...).
        ranking: the order in which features change over.
        counts: how many features have changed over, (N, points), never falling along a row.
    """

    start: Shaped[Tensors, "N ..."]
    end: Shaped[Tensors, "N ..."]
    ranking: Ranking
    counts: Shaped[Tensor, "N points"]

    def make(self, rows: Rows, counts: PerRow) -> Shaped[Tensors, "M ..."]:
        """Frames of the examples ``rows``, (M,), with ``counts``, (M,), features changed."""
        triples = zip(self.ranking.positions, self.start, self.end, strict=True)
        return tuple(
            torch.where(
                position[rows] < counts.view(-1, *[1] * (position.dim() - 1)),
                end[rows],
                start[rows],
            )
            for position, start, end in triples
        )


class FrameSource(Protocol):
    """What can be read: frames of some examples with some features changed, made on demand."""

    @property
    def counts(self) -> Tensor: ...

    def make(self, rows: Rows, counts: PerRow) -> Shaped[Tensors, "M ..."]: ...


@dataclass(frozen=True)
class Joined:
    """Frames of several sources as those of one, example after example, to be read together.

    Args:
        sources: each of as many examples and frames.

    >>> from captum_ext.curve import rank
    >>> table = torch.tensor([[0.2, 0.8]])
    >>> frames = Frames((table * 0,), (table,), rank((table,)), torch.tensor([[0, 1]]))
    >>> Joined([frames, frames]).make(torch.tensor([0, 1]), torch.tensor([2, 1]))
    (tensor([[0.2000, 0.8000],
            [0.0000, 0.8000]]),)
    """

    sources: Sequence[FrameSource]

    @property
    def counts(self) -> Shaped[Tensor, "N points"]:
        return torch.cat([source.counts for source in self.sources])

    def make(self, rows: Rows, counts: PerRow) -> Shaped[Tensors, "M ..."]:
        """Frames of ``rows``, which rise: those of the first source come first."""
        n = len(self.sources[0].counts)
        firsts = n * torch.arange(1, len(self.sources), device=rows.device)
        # The device is asked once where each source begins, and of one source never.
        begins = (rows[:, None] < firsts).sum(0).tolist() if len(self.sources) > 1 else []
        parts = pairwise([0, *begins, len(rows)])
        made = [
            source.make(rows[a:b] - k * n, counts[a:b])
            for k, (source, (a, b)) in enumerate(zip(self.sources, parts, strict=True))
            if a < b
        ]
        return tuple(torch.cat(parts) for parts in zip(*made, strict=True))


class Pending(Protocol):
    """A reading that works on in the background."""

    def result(self) -> Tensor: ...


Reading = Callable[[Tensors, Tensor], Any]
"""From M frames and whose frame each is (rows) to one number each, (M,), or several, (M, k);
or to a `Pending` one."""


def read(frames: FrameSource, readings: Sequence[Reading], chunk: int) -> list[Tensor]:
    """Reads all frames once, several ways, holding no more than ``chunk`` frames.

    Neighboring frames without a difference are made and read once. Readings that work in the
    background (codecs) go first in ``readings``, so that the others run beside them, and are
    waited for when the next chunk is made and read: they may hold a chunk of their own.

    Returns:
        Per reading a tensor (N, points) or (N, points, k).
    """
    counts = frames.counts
    fresh = torch.ones_like(counts, dtype=torch.bool)
    fresh[:, 1:] = counts[:, 1:] != counts[:, :-1]
    rows, points = torch.nonzero(fresh, as_tuple=True)
    parts: list[list[Tensor]] = [[] for _ in readings]
    before: list[Any] = []
    for some, count in zip(
        torch.split(rows, chunk), torch.split(counts[rows, points], chunk), strict=True
    ):
        made = frames.make(some, count)
        started = [reading(made, some) for reading in readings]
        _keep(parts, before)
        before = started
    _keep(parts, before)
    source = (fresh.flatten().cumsum(0) - 1).view_as(counts)
    return [torch.cat(part)[source.to(part[0].device)] for part in parts]


def _keep(parts: list[list[Tensor]], values: list[Any]) -> None:
    """Adds what was read of a chunk, waiting for what is still at work."""
    for part, value in zip(parts, values, strict=False):
        part.append(value if isinstance(value, Tensor) else value.result())


def even_counts(n_features: Shaped[Tensor, "N"], n_steps: int) -> Shaped[Tensor, "N points"]:
    """Feature counts at ``n_steps + 1`` even steps from none to all, (N, n_steps + 1).

    >>> even_counts(torch.tensor([10]), 4)
    tensor([[ 0,  3,  5,  8, 10]])
    """
    # Whole numbers throughout: halves go up at every size, whatever the device's rounding.
    steps = torch.arange(n_steps + 1, device=n_features.device)
    return (2 * steps * n_features[:, None] + n_steps) // (2 * n_steps)
