"""What an attribution costs: model evaluations and seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_ext._typing import Forward


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

    forwards: float = 0
    gradients: float = 0
    seconds: float = 0.0

    @property
    def forward_equivalents(self) -> float:
        """Forward passes, a gradient counted as three: a backward costs two."""
        return self.forwards + 3 * self.gradients

    def add(self, output: Any) -> None:
        """Counts a model's output: forwards now, gradients instead once one is taken."""
        if not isinstance(output, Tensor):
            return
        n = output.shape[0] if output.dim() else 1
        self.forwards += n
        if output.requires_grad:
            output.register_hook(self._on_gradient(n))  # type: ignore[no-untyped-call]

    def _on_gradient(self, n: int) -> Callable[[Tensor], None]:
        pending = [n]

        def hook(gradient: Tensor) -> None:
            # The first backward pass makes the forward pass part of a gradient.
            self.forwards -= pending[0]
            self.gradients += n
            pending[0] = 0

        return hook


class Counted(nn.Module):
    """A model that counts the examples it sees, in ``cost``.

    >>> counted = Counted(nn.Linear(2, 1))
    >>> _ = counted(torch.zeros(3, 2)), counted(torch.zeros(2, 2)).sum().backward()
    >>> counted.cost.forwards, counted.cost.gradients
    (3, 2)
    """

    def __init__(self, model: nn.Module, watch: Callable[[int], Any] | None = None) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self.cost = Cost()
        self.watch = watch

    @property
    def passes_on(self) -> nn.Module:
        """What is asked, as it is."""
        return self.model

    def forward(self, *inputs: Any) -> Any:
        """The model's output; rows count as gradients once one is taken through them."""
        output = self.model(*inputs)
        self.cost.add(output)
        if self.watch is not None:
            self.watch(len(output))
        return output


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


@contextmanager
def watched(forward_func: Forward) -> Iterator[Cost]:
    """The cost of what happens inside, for a model that others already hold.

    Evaluations are counted where ``forward_func`` is a module; else they are nan.

    >>> model = nn.Linear(2, 1)
    >>> with watched(model) as cost:
    ...     _ = model(torch.zeros(3, 2))
    >>> cost.forwards
    3
    """
    cost, hooks = Cost(float("nan"), float("nan")), []
    if isinstance(forward_func, nn.Module):
        cost = Cost()
        hooks.append(forward_func.register_forward_hook(lambda module, x, y: cost.add(y)))
    _finish_work()
    start = time.perf_counter()
    try:
        yield cost
    finally:
        _finish_work()
        cost.seconds = time.perf_counter() - start
        for hook in hooks:
            hook.remove()


def shared_walk(names: Sequence[str]) -> str:
    """What a table says of methods that were walked at once.

    >>> shared_walk(["IG", "IDGI (IG)"])
    'IG and IDGI (IG) share a walk: its cost stands in each row, and was paid once.'
    """
    listed = ", ".join(names[:-1]) + f" and {names[-1]}"
    return f"{listed} share a walk: its cost stands in each row, and was paid once."


def _finish_work() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
