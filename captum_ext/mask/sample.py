"""What is random in a mask's objective: drawn once for all examples and all trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated as Shaped

import torch
from torch import Tensor

from captum_ext._random import stream
from captum_ext._tensors import sent
from captum_ext._typing import PerRow, Tensors

__all__ = ["Noise", "Sample"]


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
    >>> samples = [Sample.draw([0.5, 1.0], (x,), Noise(1.0), 0, 1, keys=(7,)) for _ in range(2)]
    >>> bool((samples[0].noise[0] == samples[1].noise[0]).all()), samples[0].noise[0].shape
    (True, torch.Size([1, 2, 3, 4, 4]))
    """

    fractions: Tensor
    noise: Tensors
    relative: bool
    shifts: Tensor | None

    @classmethod
    def draw(
        cls,
        fractions: Sequence[float],
        inputs: Tensors,
        noise: Noise,
        jitter: int,
        n_terms: int,
        keys: Sequence[int],
    ) -> Sample:
        """A sample that ``keys`` alone decide, whatever the global random state."""
        generator = stream(*keys)
        n_noises, shifts = (n_terms if noise.fresh else 1), None
        device, kind = inputs[0].device, inputs[0].dtype
        draws: list[Tensor] = []
        for x in inputs if noise.std > 0 else ():
            # Without the examples: all see one noise, so that none depends on those beside it.
            shape = (n_noises, len(fractions), *x.shape[1:])
            drawn = torch.randn(shape, generator=generator).mul_(noise.std)
            draws.append(sent(drawn, x.device, x.dtype))
        if jitter > 0:
            drawn = torch.randint(0, jitter, (len(fractions), 2), generator=generator)
            shifts = sent(drawn, device, torch.int64)
        return cls(sent(fractions, device, kind), tuple(draws), noise.relative, shifts)

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


def _rolled(images: Tensor, shifts: Tensor) -> Tensor:
    """Each image, (M, C, H, W), rolled by its own shift, (M, 2), down and to the right."""
    for axis, shift in zip((2, 3), shifts.T, strict=True):
        places = torch.arange(images.shape[axis], device=images.device)
        source = (places - shift[:, None]) % images.shape[axis]
        shape = [len(images), 1, 1, 1]
        shape[axis] = -1
        images = images.gather(axis, source.view(shape).expand_as(images))
    return images
