"""Readings of how much a frame shows: the x of a curve."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_ext._tensors import accumulation_dtype
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


def element_fraction(frames: Frames) -> Tensor:
    """The share of elements (pixels of images) that have changed over, (N, points), 0 to 1.

    Differs from `fraction` where features are groups of unequal size.

    >>> import torch
    >>> from captum_ext.curve import rank
    >>> table, groups = torch.tensor([[0.9, 0.1, 0.1, 0.1]]), torch.tensor([[0, 1, 1, 1]])
    >>> ranking = rank((table,), feature_mask=groups)
    >>> element_fraction(Frames((table * 0,), (table,), ranking, torch.tensor([[0, 1, 2]])))
    tensor([[0.0000, 0.2500, 1.0000]], dtype=torch.float64)
    """
    places = torch.cat([p.flatten(1) for p in frames.ranking.positions], 1).sort(1).values
    changed = torch.searchsorted(places, frames.counts.contiguous())
    return changed.to(accumulation_dtype(changed.device)) / places.shape[1]
