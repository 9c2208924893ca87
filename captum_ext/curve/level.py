"""Readings of how much a frame shows: the x of a curve."""

from __future__ import annotations

from torch import Tensor

from captum_ext._captum import accumulation_dtype
from captum_ext.curve.frames import Frames


def fraction(frames: Frames) -> Tensor:
    """The share of features that have changed over in each frame, (N, points), from 0 to 1.

    >>> import torch
    >>> from captum_ext.curve import rank
    >>> table = torch.tensor([[0.1, 0.9]])
    >>> fraction(Frames((table * 0,), (table,), rank((table,)), torch.tensor([[0, 1, 2]])))
    tensor([[0.0000, 0.5000, 1.0000]], dtype=torch.float64)
    """
    counts = frames.counts.to(accumulation_dtype(frames.counts.device))
    return counts / frames.ranking.n_features[:, None]
