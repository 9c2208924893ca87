"""Random streams: of a seed, and the global ones set by a seed for a while."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from captum_ext._numbers import whole


def seed_of(seed: Any) -> int:
    """A seed, refused unless every generator takes it as it is.

    Raises:
        TypeError: for what is no whole number.
        ValueError: for one of more than 64 bits, which would be some other seed's numbers.

    >>> seed_of(1.5)
    Traceback (most recent call last):
    ...
    TypeError: `seed` is a whole number, but got 1.5: use `int`.
    """
    found = whole("seed", seed)
    if not -(2**63) <= found < 2**64:
        raise ValueError(f"`seed` is a whole number of 64 bits, but got {seed}.")
    return found


def stream(*keys: int) -> torch.Generator:
    """A stream on the CPU, so that all devices see the same, which ``keys`` alone decide.

    One key seeds it as it is. Several are mixed, as sums of seeds and counters collide.

    >>> [float(torch.rand(1, generator=stream(*keys))) for keys in [(0, 1), (1, 0)]]
    [0.516..., 0.998...]
    """
    keys = tuple(map(seed_of, keys))
    if len(keys) == 1:
        return torch.Generator().manual_seed(keys[0])
    words = np.random.SeedSequence([k % 2**64 for k in keys]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]) >> 1)


@dataclass
class _Watch:
    """Whether anything was drawn from the global random states since it began."""

    start: dict[str, Any]
    device: torch.device
    drawn: bool = False

    def __call__(self) -> bool:
        self.drawn = self.drawn or not _equal(self.start, _states(self.device))
        return self.drawn


_watching: ContextVar[tuple[_Watch, ...]] = ContextVar("watching", default=())


@contextmanager
def restored(device: torch.device) -> Iterator[Callable[[], bool]]:
    """The states of Python, NumPy and torch afterwards as they were.

    Gives a function that says whether anything was drawn so far, also where another ``restored``
    within has put that back.

    >>> with restored(torch.device("cpu")) as drawn:
    ...     with restored(torch.device("cpu")):
    ...         print(drawn(), torch.rand(1).shape)
    ...     drawn()
    False torch.Size([1])
    True
    """
    with _watched(device, _states(device)) as drawn:
        yield drawn


@contextmanager
def _watched(device: torch.device, before: dict[str, Any]) -> Iterator[_Watch]:
    """From here on, then as before; those around it are told what was seen."""
    watch, around = _Watch(_states(device), device), _watching.get()
    token = _watching.set((*around, watch))
    try:
        yield watch
    finally:
        _watching.reset(token)
        seen = watch()
        for other in around:
            other.drawn = seen or other.drawn
        _restore(before, device)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[Callable[[], bool]]:
    """The states of Python, NumPy and torch set by the seed, and afterwards as they were.

    Methods that take no seed of their own, as Captum's, draw from these, and so do models with
    noise of their own. Gives a function that says whether anything was drawn so far.

    >>> before = torch.get_rng_state()
    >>> with seeded(0, torch.device("cpu")) as drawn:
    ...     print(drawn(), torch.rand(1), drawn())
    False tensor([0.4963]) True
    >>> bool((torch.get_rng_state() == before).all())
    True
    """
    seed, before = seed_of(seed), _states(device)
    # `torch.manual_seed` also seeds other devices, which are not put back, and keeps a trace of the
    # stack for each kind: it takes a thousand times as long.
    elsewhere = device.type in ("cuda", "mps")
    (torch.manual_seed if elsewhere else torch.default_generator.manual_seed)(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    with _watched(device, before) as drawn:
        yield drawn


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
