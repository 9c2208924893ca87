"""Multi-scale structural similarity of many frames with one original."""

from __future__ import annotations

from typing import Annotated as Shaped

import torch
from torch import Tensor
from torch.nn import functional

from captum_ext._typing import PerRow, Rows

# Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment"
# (2003), section 3.2: one exponent per scale.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _SIGMA, _K1, _K2 = 11, 1.5, 0.01, 0.03


def ms_ssim(
    frames: Shaped[Tensor, "N C H W"], reference: Tensor, data_range: float = 1.0
) -> Shaped[Tensor, "N"]:
    """Multi-scale structural similarity of each frame with its reference, (N,).

    TensorFlow's ``ssim_multiscale``, which the IDGI paper used: an 11 x 11 Gaussian window of
    sigma 1.5 inside the image, five scales, per channel the product over scales with negative
    terms cut at 0, then the mean over channels. Sides below 161 pixels have room for fewer
    scales (81: 4, 41: 3, 21: 2, 11: 1); the weights of those are scaled up to
    the sum of all five.

    Args:
        frames: (N, C, H, W).
        reference: (1 or N, C, H, W); its statistics are computed once.
        data_range: largest minus smallest possible value: 1 for images in [0, 1].

    Returns:
        1 for equal images, lower the less alike, never below 0.

    >>> image = torch.rand(1, 3, 32, 32)
    >>> ms_ssim(torch.cat([image, 1 - image]), image).round(decimals=3)
    tensor([1., 0.])
    """
    if reference.shape not in (frames.shape, (1, *frames.shape[1:])):
        raise ValueError(
            f"`reference` must have the shape of `frames` {tuple(frames.shape)}, with a first "
            f"dimension of 1 or theirs, but got {tuple(reference.shape)}."
        )
    rows = torch.arange(len(frames), device=frames.device) % len(reference)
    return MultiScaleSimilarity(reference, data_range)(frames, rows)


def ssim(
    a: Shaped[Tensor, "N C H W"], b: Shaped[Tensor, "N C H W"], data_range: float = 1.0
) -> Shaped[Tensor, "N"]:
    """Structural similarity at one scale of each pair of images, (N,).

    Wang, Bovik, Sheikh and Simoncelli (2004), an 11 x 11 Gaussian window of sigma 1.5 inside
    the image, mean over pixels and channels.

    >>> image = torch.rand(1, 3, 16, 16)
    >>> ssim(image, image).round(decimals=3)
    tensor([1.])
    """
    single = MultiScaleSimilarity(b, data_range)
    rows = torch.arange(len(b), device=b.device)
    return single.one_scale(a.detach().to(single.dtype), rows)


class MultiScaleSimilarity:
    """`ms_ssim` with originals whose statistics are kept, to compare many frames with.

    Args:
        originals: (N, C, H, W), sides of at least 11 pixels.
        data_range: largest minus smallest possible value.

    >>> originals = torch.rand(2, 3, 32, 32)
    >>> MultiScaleSimilarity(originals)(originals[[1]], rows=torch.tensor([1]))
    tensor([1.])
    """

    def __init__(self, originals: Tensor, data_range: float = 1.0) -> None:
        if originals.dim() != 4 or min(originals.shape[2:]) < _WINDOW:
            raise ValueError(
                "`frames` are images (N, C, height, width) with sides of at least "
                f"{_WINDOW} pixels, but got {tuple(originals.shape)}."
            )
        if not data_range > 0:
            raise ValueError(f"`data_range` is above 0, but got {data_range}.")
        self.c1, self.c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
        # Differences of squares need more than half precision.
        self.dtype = torch.promote_types(originals.dtype, torch.float32)
        centered, self.levels = _centered(originals.detach().to(self.dtype))
        scales = [centered]
        while len(scales) < len(WEIGHTS) and min(_half(s) for s in scales[-1].shape[2:]) >= _WINDOW:
            scales.append(_downsample(scales[-1]))
        means = [_blur(s) for s in scales]
        variances = [_variance(s, mean) for s, mean in zip(scales, means, strict=True)]
        self.stats = list(zip(scales, means, variances, strict=True))
        used = WEIGHTS[: len(scales)]
        self.weights = [w * sum(WEIGHTS) / sum(used) for w in used]

    def __call__(self, frames: Shaped[Tensor, "M C H W"], rows: Rows) -> PerRow:
        """The similarity of M frames, (M, C, H, W), with the originals ``rows``, (M,)."""
        # On a CPU one image at a time stays in the cache.
        size = 1 if frames.device.type == "cpu" else len(frames)
        pairs = zip(torch.split(frames, size), torch.split(rows, size), strict=True)
        return torch.cat([self._compare(f.detach().to(self.dtype), r) for f, r in pairs])

    def one_scale(self, frames: Shaped[Tensor, "M C H W"], rows: Rows) -> PerRow:
        """The similarity at the images' own scale, which may be negative, (M,)."""
        frames, levels = _centered(frames)
        return self._term(frames, rows, levels, scale=0, last=True).mean(1)

    def _compare(self, frames: Shaped[Tensor, "M C H W"], rows: Rows) -> PerRow:
        similarity = frames.new_ones(())
        frames, levels = _centered(frames)
        for scale, weight in enumerate(self.weights):
            if scale > 0:
                frames = _downsample(frames)
            last = scale == len(self.stats) - 1
            term = self._term(frames, rows, levels, scale, last)
            similarity = similarity * term.clamp_min(0) ** weight
        return similarity.mean(1)

    def _term(self, x: Tensor, rows: Tensor, levels: Tensor, scale: int, last: bool) -> Tensor:
        """Contrast and structure of each channel, (M, C), at the last scale times luminance.

        Written as 1 less a difference, (2ab + c) / (a^2 + b^2 + c) = 1 - (a - b)^2 / (same), so
        that rounding can't carry it above 1.
        """
        y, mean_y, variance_y = (stat[rows] for stat in self.stats[scale])
        mean_x = _blur(x)
        variances = _variance(x, mean_x).add_(variance_y)
        unlike = _variance(x - y, mean_x - mean_y)
        # var(x - y) is at most 2 (var x + var y), but for rounding.
        unlike = torch.minimum(unlike, 2 * variances)
        term = 1 - unlike / (variances + self.c2)
        if last:
            low_x, low_y = mean_x + levels, mean_y + self.levels[rows]
            apart = (mean_x - mean_y) + (levels - self.levels[rows])
            term = term * (1 - apart.square() / (low_x.square() + low_y.square() + self.c1))
        return term.mean((2, 3))


def _centered(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images less the mean of each channel, and those means, (M, C, 1, 1).

    A window's variance is a difference of squares: with values far from 0 beside their range
    (counts around 1,000, Hounsfield units), single precision would lose it whole.
    """
    levels = images.mean((2, 3), keepdim=True)
    return images - levels, levels


def _variance(images: Tensor, means: Tensor) -> Tensor:
    """The variance within each window; rounding alone makes it negative."""
    return _blur(images * images).sub_(means * means).clamp_min_(0)


def _half(side: int) -> int:
    return (side + 1) // 2


def _downsample(images: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; an odd side first repeats its last line, as in TensorFlow."""
    height, width = images.shape[2:]
    if height % 2 or width % 2:
        images = functional.pad(images, (0, width % 2, 0, height % 2), mode="replicate")
    return functional.avg_pool2d(images, 2)


def _window() -> list[float]:
    taps = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    weights = torch.exp(-(taps**2) / (2 * _SIGMA**2))
    return (weights / weights.sum()).tolist()


_TAPS = _window()


def _blur(images: Tensor) -> Tensor:
    """The window's mean wherever it lies inside the image, one axis after the other.

    Sums of shifted images: on a CPU several times faster than a convolution.
    """
    for dim in (2, 3):
        side = images.shape[dim] - _WINDOW + 1
        total = images.narrow(dim, 0, side) * _TAPS[0]
        for shift, weight in enumerate(_TAPS[1:], start=1):
            total.add_(images.narrow(dim, shift, side), alpha=weight)
        images = total
    return images
