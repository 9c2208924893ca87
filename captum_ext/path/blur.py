"""The path of Blur Integrated Gradients: from a blurred image to the sharp one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from captum_ext._numbers import real
from captum_ext._tensors import sent, without_autocast
from captum_ext._typing import Tensors
from captum_ext.path.base import FixedPath

# scipy's default, with which the authors' code blurs.
_TRUNCATE = 4.0


@dataclass(frozen=True)
class BlurPath(FixedPath):
    """Gaussian blur from ``max_sigma`` down to 0 in equal steps of sigma.

    The path of Xu, Venugopalan and Sundararajan, CVPR 2020 (eq. 3). It has its own start, the
    most blurred image. Outside the image is 0, as in `gaussian_blur`.

    Args:
        max_sigma: the standard deviation at the start, in pixels, above 0.

    >>> image = torch.zeros(1, 1, 5, 5)
    >>> image[..., 2, 2] = 1.0
    >>> BlurPath(max_sigma=1.0).point(image, image, t=0.0)[0, 0, 2]
    tensor([0.0215, 0.0965, 0.1592, 0.0965, 0.0215])
    """

    uses_baselines: ClassVar[bool] = False
    max_sigma: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < real("max_sigma", self.max_sigma) < math.inf:
            raise ValueError(
                f"`max_sigma` is the blur at the path's start in pixels, above 0, "
                f"but got {self.max_sigma}."
            )

    def check(self, inputs: Tensors, n_steps: int) -> None:
        """Raises ValueError unless all inputs are images."""
        del n_steps
        for x in inputs:
            if x.dim() != 4:
                hint = "add a missing batch dimension with `inputs[None]`"
                raise ValueError(
                    f"`inputs` of a blur path are images of shape (N, C, height, width), but got "
                    f"{tuple(x.shape)}: {hint if x.dim() == 3 else 'take another path'}."
                )

    def point(self, start: Tensor, end: Tensor, t: float) -> Tensor:
        """The images of ``end`` blurred with ``max_sigma * (1 - t)``."""
        return self.points(start, end, [t])[0]

    def points(self, start: Tensor, end: Tensor, ts: list[float]) -> Tensor:
        """All images at all blurs at once, (len(ts), N, C, height, width)."""
        del start
        return gaussian_blur(end, self._sigmas(ts))

    def ready(self, inputs: Tensors, places: Tensor) -> BlurPath:
        """With the weights of all blurs on another device than the CPU: one copy in all."""
        if inputs[0].device.type == "cpu":
            return self
        ts = sorted({*places.flatten().tolist()})
        longest = max(max(x.shape[2:]) for x in inputs)
        weights = _weights(longest, self._sigmas(ts))
        rows = sent(weights, inputs[0].device, _wide(inputs[0].dtype)).unbind()
        return _Ready(self.max_sigma, dict(zip(ts, rows, strict=True)))

    def _sigmas(self, ts: list[float]) -> list[float]:
        return [self.max_sigma * (1 - t) for t in ts]


@dataclass(frozen=True)
class _Ready(BlurPath):
    """A blur path whose weights lie on the device, by place."""

    weights: dict[float, Tensor] = field(default_factory=dict)

    def points(self, start: Tensor, end: Tensor, ts: list[float]) -> Tensor:
        del start
        return _blurred(end, torch.stack([self.weights[t] for t in ts]))


def gaussian_blur(images: Tensor, sigmas: list[float]) -> Tensor:
    """Images under several Gaussian blurs, as two products with band matrices.

    The same as ``scipy.ndimage.gaussian_filter(mode="constant", truncate=4)`` over height and
    width: zeros outside the image, kernel cut at 4 sigma, sigma below 0.125 the identity.

    Args:
        images: (..., height, width), on any device.
        sigmas: standard deviations in pixels, at least 0.

    Returns:
        Shape (len(sigmas), ..., height, width).

    >>> gaussian_blur(torch.ones(1, 1, 3), [0.0, 1.0]).squeeze()
    tensor([[1.0000, 1.0000, 1.0000],
            [0.2772, 0.3522, 0.2772]])
    """
    weights = _weights(max(images.shape[-2:]), sigmas)
    return _blurred(images, sent(weights, images.device, _wide(images.dtype)))


def _wide(dtype: torch.dtype) -> torch.dtype:
    # Neighboring blurs differ by less than half precision can tell.
    return torch.promote_types(dtype, torch.float32)


def _blurred(images: Tensor, weights: Tensor) -> Tensor:
    lead = (len(weights), *[1] * (images.dim() - 2))
    height, width = images.shape[-2:]
    wide, rows = images.to(_wide(images.dtype)), _bands(height, weights)
    columns = rows if width == height else _bands(width, weights)
    with without_autocast(images.device):
        made = rows.view(*lead, height, height) @ wide @ columns.view(*lead, width, width)
    return made.to(images.dtype)


def _bands(size: int, weights: Tensor) -> Tensor:
    """The symmetric matrices, (len(weights), size, size), that blur a line of pixels."""
    places = torch.arange(size, device=weights.device)
    return weights[:, (places[:, None] - places).abs()]


def _weights(size: int, sigmas: list[float]) -> Tensor:
    """The weights by distance, (len(sigmas), at least size), in float64 on the CPU."""
    sigma = torch.tensor(sigmas, dtype=torch.float64)[:, None]
    radius = (_TRUNCATE * sigma + 0.5).floor()
    distance = torch.arange(max(size, int(radius.max()) + 1), dtype=torch.float64)
    # At sigma 0 the middle would be exp(0 / 0).
    weight = torch.exp(-0.5 * (distance / sigma.clamp(min=1e-6)) ** 2) * (distance <= radius)
    weight /= 2 * weight.sum(1, keepdim=True) - weight[:, :1]
    return weight
