"""The straight line from a baseline to the input: the path of Integrated Gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_ext.path.base import FixedPath


@dataclass(frozen=True)
class StraightLine(FixedPath):
    """Equal steps from baseline to input (Sundararajan, Taly and Yan, ICML 2017, eq. 1).

    >>> StraightLine().point(torch.zeros(1, 2), torch.ones(1, 2), t=0.25)
    tensor([[0.2500, 0.2500]])
    """

    def point(self, start: Tensor, end: Tensor, t: float) -> Tensor:
        """The point ``start + t * (end - start)``, exact at both ends."""
        return torch.lerp(start, end, t)
