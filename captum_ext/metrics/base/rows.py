"""Rows of one example: an image of several classes has a row for each, and one value."""

from __future__ import annotations

import torch
from torch import Tensor


def owners(place: Tensor) -> Tensor:
    """Whose each row is, counted from 0, (M,).

    Args:
        place: which of its example's rows each is, (M,): 0 begins another example.

    >>> owners(torch.tensor([0, 0, 1, 2, 0]))
    tensor([0, 1, 1, 1, 2])
    """
    return (place == 0).cumsum(0) - 1


def renumbered(owner: Tensor) -> Tensor:
    """The same from 0, where examples were left out.

    >>> renumbered(torch.tensor([1, 4, 4]))
    tensor([0, 1, 1])
    """
    return torch.unique(owner, return_inverse=True)[1]


def mean_of_rows(values: Tensor, owner: Tensor) -> Tensor:
    """The mean over each example's rows, (N, ...); nan where one of them is.

    >>> mean_of_rows(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 1, 1]))
    tensor([1., 3.])
    """
    n = int(owner[-1]) + 1 if len(owner) else 0
    if n == len(values):
        return values
    counts = torch.bincount(owner, minlength=n).view(-1, *[1] * (values.dim() - 1))
    return values.new_zeros(n, *values.shape[1:]).index_add_(0, owner, values) / counts


def first_code(codes: Tensor, owner: Tensor) -> Tensor:
    """The code of the first of each example's rows that has one, (N,); 0 where none has.

    >>> first_code(torch.tensor([0, 0, 2, 1]), torch.tensor([0, 1, 1, 1]))
    tensor([0, 2])
    """
    n = int(owner[-1]) + 1 if len(owner) else 0
    if n == len(codes):
        return codes
    last = len(codes)
    at = torch.where(codes != 0, torch.arange(last, device=codes.device), last)
    first = torch.full((n,), last, device=codes.device).scatter_reduce_(0, owner, at, "amin")
    return torch.cat([codes, codes.new_zeros(1)])[first]
