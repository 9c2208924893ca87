"""Ratios of processor time: a run beside the model's own calls that it made, and beside peers."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Run = Callable[[nn.Module], Any]
"""What is measured: a function of the model."""
Call = tuple[int, bool]
"""A call of the model: how many examples, and whether a gradient was taken."""


class Calls(list[list[Any]]):
    """What is noted, also by copies of the model that notes it."""

    def __deepcopy__(self, memo: Any) -> Calls:
        return self


class Counted(nn.Module):
    """A model that notes the calls that are made of it, and of its copies."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.made = model, Calls()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        call = [len(x), False]
        self.made.append(call)
        output = self.model(x)
        if output.requires_grad:
            output.register_hook(lambda _: call.__setitem__(1, True))
        return output

    @property
    def passes_on(self) -> nn.Module:
        """What is asked, as it is: presets look there for an `ImageClassifier`."""
        return self.model

    @property
    def calls(self) -> list[Call]:
        return [(rows, with_gradient) for rows, with_gradient in self.made]


def replay(model: nn.Module, calls: list[Call], image: Tensor) -> None:
    """The same calls of the bare model: what nobody who asks it as often can do without."""
    for rows, with_gradient in calls:
        x = image.expand(rows, *image.shape[1:]).clone().requires_grad_(with_gradient)
        with torch.set_grad_enabled(with_gradient):
            output = model(x)
        if with_gradient:
            torch.autograd.grad(output[:, 0].sum(), x)


def evaluations(calls: list[Call], examples: int) -> dict[str, float]:
    """Forward passes and gradients an example."""
    forward, gradient = (sum(n for n, g in calls if g is kind) for kind in (False, True))
    return {"forward": forward / examples, "gradient": gradient / examples}


def seconds(work: Callable[[], Any]) -> float:
    """Processor time of this process: what other processes do does not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


def spread(values: list[float]) -> dict[str, float]:
    """The median of ratios, the least and the largest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def compared(
    runs: dict[str, Run], model: nn.Module, image: Tensor, examples: int, repeats: int
) -> dict[str, Any]:
    """The first run beside its own calls of the bare model, and the others beside the first.

    All in turn, ``repeats`` times, so that a load that comes and goes meets them alike. A run
    that fails gives the reason in place of its numbers.
    """
    ours, *peers = runs
    calls, failed = {}, {}
    for name, run in runs.items():
        counted = Counted(model)
        try:
            run(counted)  # also warms up
            calls[name] = counted.calls
        except Exception as error:
            if name == ours:
                raise
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    times: dict[str, list[float]] = {name: [] for name in ("bare", *calls)}
    for _ in range(repeats):
        for name in calls:
            times[name].append(seconds(lambda run=runs[name]: run(model)))
        times["bare"].append(seconds(lambda: replay(model, calls[ours], image)))
    first = times[ours]
    found: dict[str, Any] = {
        "seconds": statistics.median(first),
        "repeats": repeats,
        "largest": max(calls[ours], key=lambda call: (call[1], call[0]), default=(0, False)),
        **evaluations(calls[ours], examples),
        "peers": {name: {"failed": why} for name, why in failed.items()},
    }
    if calls[ours]:
        found["ratio"] = spread([a / b for a, b in zip(first, times["bare"], strict=True)])
    for name in peers:
        if name in calls:
            ratio = spread([a / b for a, b in zip(times[name], first, strict=True)])
            found["peers"][name] = {"ratio": ratio, **evaluations(calls[name], examples)}
    return found


def peak_in_process(script: Path, *words: str) -> float:
    """What a process of its own prints: a peak of memory is known once a process."""
    done = subprocess.run(
        [sys.executable, str(script), *words], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])
