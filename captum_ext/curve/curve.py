"""`Curve`: pairs of readings, one row per example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated as Shaped

import torch
from torch import Tensor


@dataclass(frozen=True)
class Curve:
    """One curve per example: what the model answers, ``y``, to how much it sees, ``x``.

    Args:
        x: (batch, points), never falling along a row.
        y: (batch, points).

    Unpacks as ``x, y = curve``.

    >>> curve = Curve(torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[0.1, 0.4, 0.8]]))
    >>> curve.area()
    tensor([0.4250])
    """

    x: Shaped[Tensor, "batch points"]
    y: Shaped[Tensor, "batch points"]

    def __post_init__(self) -> None:
        if self.x.dim() != 2 or self.x.shape != self.y.shape or self.x.shape[1] < 2:
            raise ValueError(
                "`x` and `y` are of one shape (batch, points) with at least 2 points, but got "
                f"{tuple(self.x.shape)} and {tuple(self.y.shape)}."
            )

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.x, self.y))

    def area(self) -> Shaped[Tensor, "batch"]:
        """Area under each curve by trapezoids, (batch,).

        The score of Petsiuk et al. (BMVC 2018): for deletion lower is better, for insertion
        higher.
        """
        return torch.trapezoid(self.y, self.x, dim=1)

    def relative(self, original: int = -1) -> Curve:
        """``y`` as multiples of its value at one point: the probability ratio.

        Args:
            original: the point at which the model sees the original, -1 (the last, as in an
                insertion) or 0 (as in a deletion). Where ``y`` is 0 there, the row is nan.

        >>> Curve(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.2, 0.8]])).relative().y
        tensor([[0.2500, 1.0000]])
        """
        whole = self.y[:, original : original + 1 or None]
        # By nan, not by 0: only 0 / 0 is nan, and infinity would go into means.
        return Curve(self.x, self.y / torch.where(whole == 0, torch.nan, whole))

    def reaches(self, level: float, falling: bool = False) -> Shaped[Tensor, "batch"]:
        """The first ``x``, linear between points, at which ``y`` is at the level; nan if nowhere.

        Of a relative curve: the share of features that restores so much of the score, or, of a
        deletion, that leaves so much of it.

        Args:
            level: of ``y``, to be reached from below.
            falling: reach it from above instead.

        >>> curve = Curve(torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[0.0, 0.8, 1.0]]))
        >>> curve.reaches(0.4), curve.reaches(0.9), curve.reaches(1.5)
        (tensor([0.2500]), tensor([0.7500]), tensor([nan]))
        """
        y, level = (-self.y, -level) if falling else (self.y, level)
        there = y >= level
        last = there.int().argmax(1, keepdim=True)
        first = (last - 1).clamp_min(0)
        x0, x1 = self.x.gather(1, first), self.x.gather(1, last)
        y0, y1 = y.gather(1, first), y.gather(1, last)
        share = torch.where(y1 > y0, (level - y0) / (y1 - y0), 1.0).clamp(0, 1)
        found = (x0 + share * (x1 - x0)).squeeze(1)
        return torch.where(there.any(1), found, torch.nan)

    def monotone(self) -> Curve:
        """The running maximum of ``y``.

        >>> Curve(torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[0.0, 0.7, 0.6]])).monotone().y
        tensor([[0.0000, 0.7000, 0.7000]])
        """
        return Curve(self.x, self.y.cummax(dim=1).values)

    def resample(self, grid: Shaped[Tensor, "points"]) -> Curve:
        """Linear interpolation on a grid that all rows share; the ends stay level outside.

        Args:
            grid: (points,), rising. At a jump (two equal ``x``) the later ``y`` counts.

        >>> curve = Curve(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 2.0]]))
        >>> curve.resample(torch.tensor([0.0, 0.25, 1.0])).y
        tensor([[0.0000, 0.5000, 2.0000]])
        """
        points = grid.to(self.x).expand(self.x.shape[0], -1).contiguous()
        right = torch.searchsorted(self.x.contiguous(), points, right=True)
        right = right.clamp(1, self.x.shape[1] - 1)
        x0, x1 = self.x.gather(1, right - 1), self.x.gather(1, right)
        y0, y1 = self.y.gather(1, right - 1), self.y.gather(1, right)
        # At a jump, where 0 is divided by 0, the later point; outside, the end.
        share = torch.where(x1 > x0, (points - x0) / (x1 - x0), 1.0).clamp(0, 1)
        return Curve(points, y0 + share * (y1 - y0))
