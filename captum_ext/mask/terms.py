"""What the model says of a masked input: the terms of the objective that cost evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["DeletionTerm", "InsertionTerm", "Term", "blend"]


class Term(Protocol):
    """A weighted score of the blend of input and reference under a mask."""

    @property
    def masks(self) -> tuple[int, ...]:
        """Which masks of the problem are multiplied, each enlarged before."""

    @property
    def weight(self) -> float:
        """The factor of the score in the objective: above 0 lowers it, below 0 raises it."""

    def blend(self, x: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
        """What the model sees."""


@dataclass(frozen=True)
class DeletionTerm:
    """The score of the input with what the mask lacks replaced: f(I*M + I'*(1-M)), lowered.

    Equation 3 of I-GOS (Qi, Khorram and Li, AAAI 2020).

    Args:
        masks: numbers of the masks whose product is M.
        weight: factor in the objective.

    >>> import torch
    >>> image, blurred, mask = torch.ones(3), torch.zeros(3), torch.tensor([1.0, 0.5, 0.0])
    >>> DeletionTerm().blend(image, blurred, mask)
    tensor([1.0000, 0.5000, 0.0000])
    """

    masks: tuple[int, ...] = (0,)
    weight: float = 1.0

    def blend(self, x: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
        return blend(x, reference, mask)


@dataclass(frozen=True)
class InsertionTerm:
    """The score of the reference with what the mask lacks restored: f(I'*M + I*(1-M)), raised.

    Equation 5 of iGOS++ (Khorram, Lawson and Li, CHIL 2021).

    Args:
        masks: numbers of the masks whose product is M.
        weight: factor in the objective; below 0, so that the score rises.

    >>> import torch
    >>> image, blurred, mask = torch.ones(3), torch.zeros(3), torch.tensor([1.0, 0.5, 0.0])
    >>> InsertionTerm().blend(image, blurred, mask)
    tensor([0.0000, 0.5000, 1.0000])
    """

    masks: tuple[int, ...] = (0,)
    weight: float = -1.0

    def blend(self, x: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
        return blend(reference, x, mask)


def blend(kept: Tensor, dropped: Tensor, mask: Tensor) -> Tensor:
    """``kept`` where the mask is 1, ``dropped`` where it is 0: Phi of the I-GOS paper."""
    return dropped + mask * (kept - dropped)
