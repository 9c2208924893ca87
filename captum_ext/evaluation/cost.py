"""What an attribution costs: model evaluations and seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Cost:
    """Examples that went through a model.

    Args:
        forwards: through the model without a gradient.
        gradients: through the model and back.
        seconds: of wall time.

    >>> Cost(forwards=1, gradients=50).forward_equivalents
    151
    """

    forwards: int = 0
    gradients: int = 0
    seconds: float = 0.0

    @property
    def forward_equivalents(self) -> int:
        """Forward passes, a gradient counted as three: a backward costs two."""
        return self.forwards + 3 * self.gradients


class Counted(nn.Module):
    """A model that counts the examples it sees, in ``cost``.

    >>> counted = Counted(nn.Linear(2, 1))
    >>> _ = counted(torch.zeros(3, 2)), counted(torch.zeros(2, 2, requires_grad=True))
    >>> counted.cost.forwards, counted.cost.gradients
    (3, 2)
    """

    def __init__(self, model: nn.Module, watch: Callable[[int], Any] | None = None) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self.cost = Cost()
        self.watch = watch

    def forward(self, *inputs: Any) -> Any:
        """The model's output; rows count as gradients where a graph to the inputs is kept."""
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        n = len(tensors[0])
        if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
            self.cost.gradients += n
        else:
            self.cost.forwards += n
        if self.watch is not None:
            self.watch(n)
        return self.model(*inputs)


@contextmanager
def measured(counted: Counted) -> Iterator[Cost]:
    """The cost of what happens inside, filled in at its end.

    >>> counted = Counted(nn.Linear(2, 1))
    >>> with measured(counted) as cost:
    ...     _ = counted(torch.zeros(3, 2))
    >>> cost.forwards
    3
    """
    outer, counted.cost = counted.cost, Cost()
    cost, start = counted.cost, time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - start
        counted.cost = outer
