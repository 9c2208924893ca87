"""What is random in a mask's objective: drawn once for all examples and all trials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Annotated as Shaped, TypeAlias

import torch
from torch import Tensor

from captum_ext._numbers import at_least_zero
from captum_ext._random import stream
from captum_ext._tensors import sent
from captum_ext._typing import PerRow, Tensors

__all__ = ["Noise", "Sample", "Samples"]

# Of noise on its way, and as much again on the device: a photograph's 20 noises are 12 MB.
_BLOCK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Noise:
    """Normal noise on what the model sees.

    Args:
        std: its standard deviation; 0 is none.
        relative: whether ``std`` counts in the standard deviation of the example.
        fresh: whether every evaluation and every term has noise of its own, as in the published
            code. Otherwise one iteration has one noise, so that its trials can be compared.

    Raises:
        ValueError: if ``std`` is negative.

    >>> Noise(-0.1)
    Traceback (most recent call last):
    ValueError: `noise_std` is a finite number of at least 0, but got -0.1.
    """

    std: float = 0.0
    relative: bool = True
    fresh: bool = False

    def __post_init__(self) -> None:
        at_least_zero("noise_std", self.std)


@dataclass(frozen=True)
class Sample:
    """The fractions of the mask that are read, and the noise and the shift of each.

    >>> x = torch.zeros(1, 3, 4, 4)
    >>> samples = [Samples([0.5, 1.0], (x,), Noise(1.0), 0, 1)(7) for _ in range(2)]
    >>> bool((samples[0].noise[0] == samples[1].noise[0]).all()), samples[0].noise[0].shape
    (True, torch.Size([1, 2, 3, 4, 4]))
    """

    fractions: Tensor
    noise: Tensors
    relative: bool
    shifts: Tensor | None

    def disturb(
        self,
        blend: Shaped[Tensor, "M ..."],
        x: Shaped[Tensor, "M ..."],
        number: int,
        term: int,
        fraction: PerRow,
    ) -> Shaped[Tensor, "M ..."]:
        """The blends of one term and of input tensor ``number``, shifted and with noise."""
        if self.shifts is not None and blend.dim() == 4:
            blend = _rolled(blend, self.shifts[fraction])
        if not self.noise:
            return blend
        noise = self.noise[number]
        noise = noise[min(term, len(noise) - 1)][fraction]
        if self.relative:
            std = x.flatten(1).std(1, correction=0)
            noise = noise * std.view(-1, *[1] * (x.dim() - 1))
        return blend + noise


class Samples:
    """The samples of one run: ``keys`` alone decide each, whatever the global random state.

    Drawn on the CPU, so that all devices see the same, and those that will follow while the model
    is asked: a photograph's 20 noises take as long as a network on a GPU takes for them. To
    another device those of several keys go in one copy, as each copy costs the host a call and
    the device a wait.

    Args:
        fractions: of the mask, the same for all samples.
        inputs: which noise is added to.
        noise, jitter: as of `MaskProblem`.
        n_terms: how many terms have a noise of their own where it is fresh.
    """

    def __init__(
        self,
        fractions: Sequence[float],
        inputs: Tensors,
        noise: Noise,
        jitter: int,
        n_terms: int,
    ) -> None:
        self._inputs, self._noise, self._jitter = inputs, noise, jitter
        self._shape = (n_terms if noise.fresh else 1, len(fractions))
        self._fractions = sent(fractions, inputs[0].device, inputs[0].dtype)
        self._worker: ThreadPoolExecutor | None = None
        self._closed = False
        self._coming: tuple[list[Keys], Future[_Drawn]] | None = None
        self._there: dict[Keys, Sample] = {}
        self._unforeseen: dict[Keys, Sample] = {}
        self._last: Keys = ()
        # Twice as many each time, so that a short run waits for few and draws few in vain.
        self._block = 1

    def __call__(self, *keys: int, beside: Iterable[Keys] = ()) -> Sample:
        """The sample of these keys on the inputs' device.

        Args:
            keys: what decides it.
            beside: keys that are as likely asked for next, and sent with these where these were
                not begun.
        """
        if self._coming is not None and keys in self._coming[0]:
            names, coming = self._coming
            self._there, self._coming = self._on_device(names, coming.result()), None
        if self._coming is not None and self._coming[0][-1] < keys:
            self._coming = None  # a search had fewer trials than the one before
        if keys in self._there:
            return self._there[keys]
        if keys not in self._unforeseen:
            block = [*islice((keys, *beside), self._fitting())]
            self._unforeseen = self._on_device(block, self._draw(block))
        return self._unforeseen[keys]

    def ahead(self, following: Iterable[Keys]) -> None:
        """Begins with the samples of these keys, which rise and are asked for in their order.

        As many as a block holds; unless a block is on its way, or holds them.
        """
        if self._coming is not None or not (self._noise.std > 0 or self._jitter):
            return
        wanted = (keys for keys in following if keys > self._last)
        block = [*islice(wanted, self._most())]
        if block:
            self._block, self._last = 2 * self._block, block[-1]
            worker = self._worker = self._worker or ThreadPoolExecutor(1)
            self._coming = block, worker.submit(self._draw, block)

    def close(self) -> None:
        """Lets go of what was begun and not asked for."""
        self._closed = True
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)

    def _most(self) -> int:
        """How many keys the next block has, at least one."""
        return min(self._block, self._fitting())

    def _fitting(self) -> int:
        """How many keys a block can have, at least one."""
        if self._inputs[0].device.type == "cpu":
            return 1
        noises = self._inputs if self._noise.std > 0 else ()
        each = prod(self._shape) * sum(x[0].numel() * x.element_size() for x in noises)
        return max(1, _BLOCK_BYTES // max(1, each))

    def _draw(self, block: Sequence[Keys]) -> _Drawn:
        """Noise per input tensor, (keys, terms, fractions, ...), and shifts, on the CPU."""
        # Without the examples: all see one noise, so that none depends on those beside it.
        noisy = self._inputs if self._noise.std > 0 else ()
        noise = [torch.empty(len(block), *self._shape, *x.shape[1:]) for x in noisy]
        shifts = torch.empty(len(block), self._shape[1], 2, dtype=torch.int64)
        for k, keys in enumerate(block):
            if self._closed:
                break
            generator = stream(*keys)
            for drawn in noise:
                drawn[k].normal_(generator=generator).mul_(self._noise.std)
            if self._jitter:
                shifts[k].random_(0, self._jitter, generator=generator)
        return noise, shifts if self._jitter else None

    def _on_device(self, block: Sequence[Keys], drawn: _Drawn) -> dict[Keys, Sample]:
        draws, shifts = drawn
        noise = [sent(d, x.device, x.dtype) for d, x in zip(draws, self._inputs, strict=False)]
        moves = None if shifts is None else sent(shifts, self._inputs[0].device, torch.int64)
        return {
            keys: Sample(
                self._fractions,
                tuple(n[k] for n in noise),
                self._noise.relative,
                None if moves is None else moves[k],
            )
            for k, keys in enumerate(block)
        }


Keys: TypeAlias = tuple[int, ...]
_Drawn: TypeAlias = tuple[list[Tensor], Tensor | None]


def _rolled(images: Tensor, shifts: Tensor) -> Tensor:
    """Each image, (M, C, H, W), rolled by its own shift, (M, 2), down and to the right."""
    for axis, shift in zip((2, 3), shifts.T, strict=True):
        places = torch.arange(images.shape[axis], device=images.device)
        source = (places - shift[:, None]) % images.shape[axis]
        shape = [len(images), 1, 1, 1]
        shape[axis] = -1
        images = images.gather(axis, source.view(shape).expand_as(images))
    return images
