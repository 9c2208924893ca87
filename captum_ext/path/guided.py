"""The path of Guided Integrated Gradients: features with small gradients move first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from captum_ext._numbers import real
from captum_ext._tensors import accumulation_dtype
from captum_ext._typing import Tensors
from captum_ext.path.base import Knot, Path
from captum_ext.score import Score

# Gradients closer than this are one tie: on a constant baseline a convolution's gradients are
# equal but for rounding, and rounding must not choose the path.
_TIE = 1e-8
# Asking an accelerator whether all are done stalls it, so it is asked once in so many rounds: not
# at all for the default fraction, which needs four.
_ROUNDS_UNASKED = 4
# So many numbers stay in a CPU's cache, and their memory is used again: larger tensors come as
# fresh pages with every operation, which take four times as long as the arithmetic.
_IN_CACHE = 2**18
# Rows longer than this are summed one by one.
_LONG = 4096


@dataclass(frozen=True)
class GuidedPath(Path):
    """The adaptive path of Kapishnikov et al., CVPR 2021 (algorithm 1), for a whole batch.

    At step j of n the L1 distance to the input must fall to ``1 - j/n`` of the whole. The
    ``fraction`` of features with the smallest absolute gradient moves first, then the next,
    until it has; no feature is further than ``max_dist`` from the straight line. The gradient
    is taken once a step. Arithmetic is in float64 (float32 on MPS), whatever the model's type.

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
        if not 0 < real("fraction", self.fraction) <= 1:
            raise ValueError(
                f"`fraction` is the share of features moved per step, in (0, 1], "
                f"but got {self.fraction}."
            )
        if not 0 <= real("max_dist", self.max_dist) <= 1:
            raise ValueError(
                f"`max_dist` is a feature's greatest distance from the straight line, in [0, 1], "
                f"but got {self.max_dist}."
            )

    def knots(
        self, score: Score, baselines: Tensors, inputs: Tensors, n_steps: int
    ) -> Iterator[Knot]:
        """Yields ``n_steps + 1`` knots, one model call for the whole batch per step."""
        wide = accumulation_dtype(inputs[0].device)
        start, end = _flatten(baselines).to(wide), _flatten(inputs).to(wide)
        # NumPy has no bfloat16.
        kinds = [torch.promote_types(x.dtype, torch.float32) for x in inputs]
        distance = (end - start).abs()
        # A feature equal to its baseline is finished from the start.
        progress = (distance == 0).to(distance)
        gradient: Tensors = ()
        for step in range(n_steps):
            if step:
                # Compared in the inputs' type, which loses nothing: a gradient is no finer.
                flat = _flatten(tuple(g.to(k) for g, k in zip(gradient, kinds, strict=True)))
                for rows in _blocks(progress):
                    at = progress[rows], distance[rows], flat[rows].abs()
                    progress[rows] = self._advance(*at, step / n_steps)
            point = _unflatten(torch.lerp(start, end, progress), inputs)
            value, gradient = score.with_gradient(point)
            yield Knot(point, value, gradient, score)
        yield Knot(_unflatten(end, inputs), score=score)

    def _advance(self, progress: Tensor, distance: Tensor, size: Tensor, t: float) -> Tensor:
        """How far each feature, (N, F), has come after the step that ends at ``t``."""
        lowest, highest = max(t - self.max_dist, 0.0), min(t + self.max_dist, 1.0)
        progress = progress.clamp(min=lowest)
        way = highest - progress
        # Small differences are added up instead of two large sums subtracted: exact in float32.
        missing = _products_summed(t - progress, distance)
        size = _without(size, _at_most(way, torch.zeros_like(missing)))
        whole, last, share = self._groups(size, way.mul_(distance), missing)
        return _moved(progress, highest, _at_most(size, whole), _at_most(size, last), share)

    def _groups(
        self, size: Tensor, reach: Tensor, missing: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """How large gradients are of features that go all their way, and of the last group's.

        Also the share of its way that the last group goes; all (N, 1), -1 where there is no group.
        """
        n_features = size.shape[1]
        k = int(self.fraction * (n_features - 1)) + 1
        ordered = _sorted(size)
        whole = last = torch.full_like(missing, -1).to(size)
        share = before = torch.zeros_like(missing)
        rank = torch.zeros_like(missing, dtype=torch.long)
        unmet = missing > 0
        # Each round takes k more features, and those tied with them: the paper's quantile counts
        # all features, also those that have no way left.
        for round_ in range(math.ceil(n_features / k)):
            if _may_ask(round_, size.device) and not unmet.any():
                break
            here = ordered.gather(1, (rank + k - 1).clamp_(max=n_features - 1)).mul_(1 + _TIE)
            here.clamp_(max=torch.finfo(size.dtype).max)
            chosen = _at_most(size, here)
            rank, reached = _counted(chosen), _products_summed(chosen, reach)
            ends = unmet & (reached >= missing)
            last = torch.where(ends, here, last)
            share = torch.where(ends, (missing - before) / (reached - before), share)
            unmet = unmet & ~ends
            whole = torch.where(unmet, here, whole)
            before = reached
        return whole, torch.maximum(whole, last), share


def _blocks(rows: Tensor) -> Iterator[slice]:
    """Examples whose arithmetic is done together: all of them on an accelerator."""
    n_examples, n_features = rows.shape
    together = n_examples if rows.device.type != "cpu" else max(_IN_CACHE // n_features, 1)
    return (slice(k, k + together) for k in range(0, n_examples, together))


def _may_ask(round_: int, device: torch.device) -> bool:
    return device.type == "cpu" or (round_ > 0 and round_ % _ROUNDS_UNASKED == 0)


def _by_numpy(values: Tensor) -> bool:
    """On CPUs NumPy does by vector instructions much that torch does not."""
    return values.device.type == "cpu"


def _at_most(values: Tensor, bound: Tensor) -> Tensor:
    """Whether each value, (N, F), is at most its row's bound, (N, 1)."""
    if _by_numpy(values):
        # In a tenth of the time.
        return torch.from_numpy(np.less_equal(values.numpy(), bound.numpy()))
    return values <= bound


def _without(size: Tensor, done: Tensor) -> Tensor:
    """Infinity where a feature is done, so that it is counted last."""
    if _by_numpy(size):
        # By a mask, which costs little where few are set: those of the baseline's color.
        size.numpy()[done.numpy()] = np.inf
        return size
    return size.masked_fill_(done, torch.inf)


def _moved(progress: Tensor, highest: float, whole: Tensor, last: Tensor, share: Tensor) -> Tensor:
    """Progress, changed in place: all the way to ``highest``, or a share, (N, 1), of the way.

    Args:
        progress: (N, F).
        highest: where the way ends.
        whole: which features go all of it, (N, F).
        last: the same and those that go the share of it, (N, F).
        share: in [0, 1].
    """
    if _by_numpy(progress):
        # NumPy finds the places of a quarter of the features, and reads and writes there, in half
        # of the time of one operation on all of them by a mask.
        rows = progress.numpy(), whole.numpy(), last.numpy(), share.flatten().tolist()
        for at, all_of_it, some_of_it, part in zip(*rows, strict=True):
            places = np.flatnonzero(all_of_it != some_of_it)
            here = torch.from_numpy(at[places])
            at[places] = here.lerp_(here.new_tensor(highest), part).numpy()
            at[np.flatnonzero(all_of_it)] = highest
        return progress
    # Of the whole at most 1 - share + share, which is 1 in floating point too.
    part = last.to(progress).mul_(share)
    part += whole.to(progress).mul_(1 - share)
    # At a part of 1 exactly `highest`, at 0 exactly where it was.
    return progress.lerp_(torch.full_like(share, highest), part)


def _counted(chosen: Tensor) -> Tensor:
    """How many of each row are chosen, (N, 1)."""
    if _by_numpy(chosen):
        return torch.tensor([[np.count_nonzero(row)] for row in chosen.numpy()])
    return chosen.sum(1, keepdim=True)


def _products_summed(a: Tensor, b: Tensor) -> Tensor:
    """The sum of each row's products, (N, 1); of ``a``, numbers or truth values."""
    if _by_numpy(b) and a.shape[1] > _LONG:
        # NumPy converts in half of the time. No product is written down, and no row's sum depends
        # on how many there are.
        rows = zip(torch.from_numpy(a.numpy().astype(b.numpy().dtype, copy=False)), b, strict=True)
        return torch.stack([torch.dot(*pair) for pair in rows])[:, None]
    return torch.linalg.vecdot(a.to(b), b)[:, None]


def _sorted(size: Tensor) -> Tensor:
    """Each row from the least to the largest."""
    if _by_numpy(size):
        # In an eighth of the time.
        return torch.from_numpy(np.sort(size.numpy(), axis=1))
    return size.sort(dim=1).values


def _flatten(tensors: Tensors) -> Tensor:
    """All features of each example, (N, F), on the first tensor's device; a view where it can."""
    flat = [x.to(tensors[0].device).reshape(len(x), -1) for x in tensors]
    return torch.cat(flat, dim=1) if len(flat) > 1 else flat[0]


def _unflatten(flat: Tensor, like: Tensors) -> Tensors:
    parts = torch.split(flat, [x[0].numel() for x in like], dim=1)
    return tuple(p.view_as(x) for p, x in zip(parts, like, strict=True))
