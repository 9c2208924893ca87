"""Readings of how much a frame shows: the x of a curve."""

from __future__ import annotations

from torch import Tensor

from captum_ext._captum import accumulation_dtype
from captum_ext.curve.frames import Frames


def fraction(frames: Frames) -> Tensor:
    """The share of features that have changed over in each frame, (N, points), from 0 to 1."""
    counts = frames.counts.to(accumulation_dtype(frames.counts.device))
    return counts / frames.ranking.n_features[:, None]
