"""How alike two maps are: the similarities of the sanity checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from captum_ext._captum import accumulation_dtype
from captum_ext.curve.similarity import ssim


def signed_map(attributions: Tensor) -> Tensor:
    """Channels of images summed, scaled to [-1, 1] by the largest absolute value.

    >>> signed_map(torch.tensor([[[[4.0]], [[-2.0]]]]))
    tensor([[[1.]]], dtype=torch.float64)
    """
    summed = _wide(attributions)
    summed = summed.sum(1) if summed.dim() >= 4 else summed
    largest = summed.abs().flatten(1).amax(1).view(-1, *[1] * (summed.dim() - 1))
    return summed / largest.clamp_min(torch.finfo(summed.dtype).tiny)


def absolute_map(attributions: Tensor) -> Tensor:
    """Absolute values summed over channels, cut at the 99th percentile, scaled to [0, 1].

    >>> absolute_map(torch.tensor([[0.0, -1.0, 2.0, 2.0]]))
    tensor([[0.0000, 0.5000, 1.0000, 1.0000]], dtype=torch.float64)
    """
    summed = _wide(attributions).abs()
    summed = summed.sum(1) if summed.dim() >= 4 else summed
    flat = summed.flatten(1)
    low = flat.amin(1, keepdim=True)
    # By rank: torch.quantile refuses more than 16 million numbers.
    place = 0.99 * (flat.shape[1] - 1)
    below, above = (flat.kthvalue(1 + int(place) + k, 1).values for k in (0, place % 1 > 0))
    high = (below + (place % 1) * (above - below))[:, None]
    scaled = (flat - low) / (high - low).clamp_min(torch.finfo(flat.dtype).tiny)
    return scaled.clamp(0, 1).view_as(summed)


def _wide(attributions: Tensor) -> Tensor:
    return attributions.detach().to(accumulation_dtype(attributions.device))


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of each pair of signed maps, (N,), equals sharing a rank.

    >>> spearman(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.1, 0.4, 0.9]])).round(decimals=3)
    tensor([1.], dtype=torch.float64)
    """
    return pearson(_ranks(signed_map(a)), _ranks(signed_map(b)))


def abs_spearman(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of each pair of absolute maps, (N,).

    >>> maps = torch.tensor([[1.0, -2.0, 3.0]]), torch.tensor([[-1.0, 2.0, 3.0]])
    >>> abs_spearman(*maps).round(decimals=3)
    tensor([1.], dtype=torch.float64)
    """
    return pearson(_ranks(absolute_map(a)), _ranks(absolute_map(b)))


def structural(a: Tensor, b: Tensor) -> Tensor:
    """SSIM in two dimensions of each pair of absolute maps of images, (N,).

    >>> image = torch.rand(1, 3, 16, 16)
    >>> structural(image, image).round(decimals=3)
    tensor([1.], dtype=torch.float64)
    """
    _require_images(a, "ssim")
    return ssim(absolute_map(a)[:, None], absolute_map(b)[:, None])


def hog(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation of the histograms of gradients of absolute maps, (N,).

    Cells of 16 x 16 pixels as in the paper, smaller ones where an image has no room for a
    block of 3 x 3 of them. Needs scikit-image.

    >>> image = torch.rand(1, 3, 48, 48)
    >>> hog(image, image).round(decimals=3)
    tensor([1.], dtype=torch.float64)
    """
    _require_images(a, "hog")
    return pearson(_histograms(absolute_map(a)), _histograms(absolute_map(b))).to(a.device)


def _histograms(maps: Tensor) -> Tensor:
    try:
        from skimage.feature import hog as histogram
    except ImportError as error:
        raise ImportError(
            "The similarity 'hog' needs scikit-image: pip install 'captum_ext[demo]', or leave "
            "it out of `similarity`."
        ) from error
    cell = max(1, min(16, min(maps.shape[1:]) // 3))
    made = [histogram(m, pixels_per_cell=(cell, cell)) for m in maps.cpu().numpy()]
    return torch.stack([torch.from_numpy(h).to(torch.float64) for h in made])


SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "spearman": spearman,
    "abs_spearman": abs_spearman,
    "ssim": structural,
    "hog": hog,
}


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """The similarities' names, or an error that lists the known ones."""
    names = (names,) if isinstance(names, str) else tuple(names)
    if not names or any(name not in SIMILARITIES for name in names):
        raise ValueError(f"`similarity` is some of {[*SIMILARITIES]}, but got {list(names)}.")
    return names


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of each pair of rows, (N,), nan where a row is constant."""
    a, b = (m.flatten(1) - m.flatten(1).mean(1, keepdim=True) for m in (a, b))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def _ranks(maps: Tensor) -> Tensor:
    """Ranks from 0, equals sharing the mean of theirs."""
    flat = maps.flatten(1)
    ordered = flat.sort(1).values
    low, high = (torch.searchsorted(ordered, flat, right=side) for side in (False, True))
    return (low + high - 1).to(flat) / 2


def _require_images(maps: Tensor, name: str) -> None:
    if maps.dim() != 4:
        raise ValueError(
            f"The similarity {name!r} compares images (N, channels, height, width), but the "
            f"attributions have shape {tuple(maps.shape)}: leave it out of `similarity`."
        )
