"""Random streams: of a seed, and the global ones set by a seed for a while."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def stream(*keys: int) -> torch.Generator:
    """A stream on the CPU, so that all devices see the same, which ``keys`` alone decide.

    One key seeds it as it is. Several are mixed, as sums of seeds and counters collide.

    >>> [float(torch.rand(1, generator=stream(*keys))) for keys in [(0, 1), (1, 0)]]
    [0.516..., 0.998...]
    """
    if len(keys) == 1:
        return torch.Generator().manual_seed(keys[0])
    words = np.random.SeedSequence([k % 2**64 for k in keys]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]) >> 1)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[Callable[[], bool]]:
    """The states of Python, NumPy and torch set by the seed, and afterwards as they were.

    Methods that take no seed of their own, as Captum's, draw from these. Gives a function that
    says whether anything was drawn so far.

    >>> before = torch.get_rng_state()
    >>> with seeded(0, torch.device("cpu")) as drawn:
    ...     print(drawn(), torch.rand(1), drawn())
    False tensor([0.4963]) True
    >>> bool((torch.get_rng_state() == before).all())
    True
    """
    before = _states(device)
    # `torch.manual_seed` also seeds other devices, which are not put back, and keeps a trace of the
    # stack for each kind: it takes a thousand times as long.
    elsewhere = device.type in ("cuda", "mps")
    (torch.manual_seed if elsewhere else torch.default_generator.manual_seed)(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    start = _states(device)
    try:
        yield lambda: not _equal(start, _states(device))
    finally:
        _restore(before, device)


def _states(device: torch.device) -> dict[str, Any]:
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002
        "torch": torch.get_rng_state(),
    }
    if device.type in ("cuda", "mps"):
        generator: Any = getattr(torch, device.type)
        states["device"] = generator.get_rng_state(*_index(device))
    return states


def _restore(states: dict[str, Any], device: torch.device) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if "device" in states:
        generator: Any = getattr(torch, device.type)
        generator.set_rng_state(states["device"], *_index(device))


def _index(device: torch.device) -> tuple[torch.device, ...]:
    return (device,) if device.type == "cuda" else ()


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return bool((one == other).all())
    if isinstance(one, dict):
        return all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return all(map(_equal, one, other))
    return bool(one == other)
