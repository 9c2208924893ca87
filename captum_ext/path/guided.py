"""The path of Guided Integrated Gradients: features with small gradients move first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_ext._typing import Tensors
from captum_ext.path.base import Knot, Path
from captum_ext.score import Score

# Gradients closer than this are one tie: on a constant baseline a convolution's gradients are
# equal but for rounding, and rounding must not choose the path.
_TIE = 1e-8
# When the distance left is this near its goal, relative to it or absolute, a step is done.
_CLOSE = 1e-9


@dataclass(frozen=True)
class GuidedPath(Path):
    """The adaptive path of Kapishnikov et al., CVPR 2021 (algorithm 1), for a whole batch.

    At step j of n the L1 distance to the input must fall to ``1 - j/n`` of the whole. The
    ``fraction`` of features with the smallest absolute gradient moves first, then the next,
    until it has; no feature is further than ``max_dist`` from the straight line. The gradient
    is taken once a step. Arithmetic is in float64, whatever the model's type.

    Args:
        fraction: share of all features moved together, in (0, 1].
        max_dist: bound on a feature's distance from the straight line, as a share of its way,
            in [0, 1]. At 0 the path is the straight line.

    >>> score = Score(lambda x: x[:, 0] ** 2, (torch.ones(1, 2),))
    >>> walk = GuidedPath(0.5, 1.0).knots(score, (torch.zeros(1, 2),), (torch.ones(1, 2),), 2)
    >>> [knot.point[0].tolist() for knot in walk]
    [[[0.0, 0.0]], [[0.5, 0.5]], [[1.0, 1.0]]]
    """

    fraction: float = 0.25
    max_dist: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(
                f"`fraction` is the share of features moved per step, in (0, 1], "
                f"but got {self.fraction}."
            )
        if not 0 <= self.max_dist <= 1:
            raise ValueError(
                f"`max_dist` is a feature's greatest distance from the straight line, in [0, 1], "
                f"but got {self.max_dist}."
            )

    def knots(
        self, score: Score, baselines: Tensors, inputs: Tensors, n_steps: int
    ) -> Iterator[Knot]:
        """Yields ``n_steps + 1`` knots, one model call for the whole batch per step."""
        start, end = _flatten(baselines), _flatten(inputs)
        distance = (end - start).abs()
        # A feature equal to its baseline is finished from the start.
        progress = (distance == 0).to(distance)
        for step in range(n_steps):
            point = _unflatten(torch.lerp(start, end, progress), inputs)
            value, gradient = score.with_gradient(point)
            yield Knot(point, value, gradient, score)
            size = _flatten(gradient).abs()
            progress = self._advance(progress, distance, size, (step + 1) / n_steps)
        yield Knot(_unflatten(end, inputs), score=score)

    def _advance(self, progress: Tensor, distance: Tensor, size: Tensor, t: float) -> Tensor:
        """How far each feature, (N, F), has come after the step that ends at ``t``."""
        lowest, highest = max(t - self.max_dist, 0.0), min(t + self.max_dist, 1.0)
        goal = distance.sum(1) * (1 - t)
        # What is missing to the lower bound counts even when the goal is met already.
        progress = progress.clamp(min=lowest)
        left = (distance * (1 - progress)).sum(1)
        active = ~torch.isclose(left, goal, rtol=_CLOSE, atol=_CLOSE)
        # Each round finishes a fraction of all features, so the rounds are few.
        for _ in range(math.ceil(1 / self.fraction) + 1):
            if not active.any():
                break
            chosen = self._smallest(size.masked_fill(progress >= highest, torch.inf))
            chosen &= active[:, None]
            way = torch.where(chosen, highest - progress, 0.0)
            reach = (distance * way).sum(1)
            share = torch.where(reach > 0, (left - goal) / reach, 1.0).clamp(max=1.0)
            full = (share == 1.0)[:, None]
            progress = torch.where(chosen & full, highest, progress + way * share[:, None])
            left = (distance * (1 - progress)).sum(1)
            active &= full[:, 0] & ~torch.isclose(left, goal, rtol=_CLOSE, atol=_CLOSE)
        return progress

    def _smallest(self, size: Tensor) -> Tensor:
        """Which features, (N, F), are among the smallest; the quantile counts all of them."""
        k = int(self.fraction * (size.shape[1] - 1)) + 1
        threshold = size.kthvalue(k, dim=1, keepdim=True).values
        return (size <= threshold * (1 + _TIE)) & size.isfinite()


def _flatten(tensors: Tensors) -> Tensor:
    """All features of each example in float64, (N, F); on the CPU where a device has none."""
    device = torch.device("cpu") if tensors[0].device.type == "mps" else tensors[0].device
    return torch.cat([x.to(device, torch.float64).flatten(1) for x in tensors], dim=1)


def _unflatten(flat: Tensor, like: Tensors) -> Tensors:
    parts = torch.split(flat, [x[0].numel() for x in like], dim=1)
    return tuple(p.view_as(x) for p, x in zip(parts, like, strict=True))
