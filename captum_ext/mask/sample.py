"""What is random in a mask's objective: drawn once for all examples and all trials."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated as Shaped, TypeAlias

import torch
from torch import Tensor

from captum_ext._random import stream
from captum_ext._tensors import sent
from captum_ext._typing import PerRow, Tensors

__all__ = ["Noise", "Sample", "Samples"]


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
    ValueError: `noise_std` is a standard deviation, at least 0, but got -0.1.
    """

    std: float = 0.0
    relative: bool = True
    fresh: bool = False

    def __post_init__(self) -> None:
        if not self.std >= 0:
            raise ValueError(
                f"`noise_std` is a standard deviation, at least 0, but got {self.std}."
            )


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
    is asked: a photograph's 20 noises take as long as a network on a GPU takes for them.

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
        self._coming: dict[tuple[int, ...], Future[_Drawn]] = {}

    def __call__(self, *keys: int) -> Sample:
        """The sample of these keys on the inputs' device."""
        coming = self._coming.pop(keys, None)
        draws, shifts = self._draw(*keys) if coming is None else coming.result()
        pairs = zip(draws, self._inputs, strict=False)
        return Sample(
            self._fractions,
            tuple(sent(drawn, x.device, x.dtype) for drawn, x in pairs),
            self._noise.relative,
            None if shifts is None else sent(shifts, self._inputs[0].device, torch.int64),
        )

    def ahead(self, *following: tuple[int, ...]) -> None:
        """Begins with the samples of these keys, which are asked for next; forgets all others."""
        if self._noise.std > 0:
            worker = self._worker = self._worker or ThreadPoolExecutor(1)
            self._coming = {keys: worker.submit(self._draw, *keys) for keys in following}

    def close(self) -> None:
        """Lets go of what was begun and not asked for."""
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)

    def _draw(self, *keys: int) -> _Drawn:
        generator = stream(*keys)
        # Without the examples: all see one noise, so that none depends on those beside it.
        draws = [
            torch.randn((*self._shape, *x.shape[1:]), generator=generator).mul_(self._noise.std)
            for x in (self._inputs if self._noise.std > 0 else ())
        ]
        if self._jitter == 0:
            return draws, None
        return draws, torch.randint(0, self._jitter, (self._shape[1], 2), generator=generator)


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
