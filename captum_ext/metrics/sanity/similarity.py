"""How alike two maps are: the similarities of the sanity checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_ext._random import stream
from captum_ext._tensors import accumulation_dtype
from captum_ext.curve.ms_ssim import ssim
from captum_ext.maps import absolute_map, signed_map
from captum_ext.registry import SIMILARITIES


@dataclass(frozen=True)
class Similarity:
    """How alike two maps are, (N,): 1 for equal maps.

    Args:
        read: what is compared of maps (N, ...); called once for each map.
        compare: from two readings to a number per example.

    >>> maps = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.1, 0.4, 0.9]])
    >>> SIMILARITIES["spearman"](*maps).round(decimals=3)
    tensor([1.], dtype=torch.float64)
    """

    read: Callable[[Tensor], Tensor]
    compare: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return self.compare(self.read(a), self.read(b))


def is_constant(reading: Tensor) -> Tensor:
    """Which readings have nothing to compare, (N,)."""
    flat = reading.flatten(1)
    return flat.amax(1) == flat.amin(1)


def signed_ranks(maps: Tensor) -> Tensor:
    """Ranks of signed maps, (N, features), equals sharing a rank."""
    return _ranks(signed_map(maps))


def absolute_ranks(maps: Tensor) -> Tensor:
    """Ranks of absolute maps, (N, features), equals sharing a rank."""
    return _ranks(absolute_map(maps))


def picture(maps: Tensor) -> Tensor:
    """Absolute maps of images, (N, 1, height, width)."""
    _require_images(maps, "ssim")
    return absolute_map(maps)[:, None]


def histograms(maps: Tensor) -> Tensor:
    """Histograms of gradients of absolute maps of images, (N, bins).

    Cells of 16 x 16 pixels as in the paper, smaller ones where an image has no room for a
    block of 3 x 3 of them. Needs scikit-image.
    """
    _require_images(maps, "hog")
    return _histograms(absolute_map(maps), "hog")


def _histograms(pictures: Tensor, name: str) -> Tensor:
    try:
        from skimage.feature import hog as histogram
    except ImportError as error:
        raise ImportError(
            f"The similarity {name!r} needs scikit-image: pip install scikit-image, or leave it "
            "out of `similarity`."
        ) from error
    cell = max(1, min(16, min(pictures.shape[1:]) // 3))
    drawn = pictures.cpu().numpy()
    made = [torch.from_numpy(histogram(m, pixels_per_cell=(cell, cell))) for m in drawn]
    return torch.stack(made).to(accumulation_dtype(pictures.device)).to(pictures.device)


def stretched(maps: Tensor) -> Tensor:
    """Signed maps from their least to their largest value, in [0, 1], (N, 1, height, width).

    As the notebook of the sanity checks shows and compares them: no credit is some gray, which
    depends on the extremes of the map.

    >>> stretched(torch.tensor([[[[3.0, 1.0, -1.0]]]]))
    tensor([[[[1.0000, 0.5000, 0.0000]]]], dtype=torch.float64)
    """
    _require_images(maps, "stretched_ssim")
    signed = signed_map(maps)
    low, high = signed.amin((1, 2), keepdim=True), signed.amax((1, 2), keepdim=True)
    span = (high - low).clamp_min(torch.finfo(signed.dtype).tiny)
    return ((signed - low) / span)[:, None]


def histogram_ranks(maps: Tensor) -> Tensor:
    """Ranks of the histograms of gradients of stretched maps, (N, bins)."""
    _require_images(maps, "hog_spearman")
    return _ranks(_histograms(stretched(maps)[:, 0], "hog_spearman"))


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of each pair of rows, (N,), nan where a row is constant.

    >>> rows = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    >>> pearson(rows, -rows)
    tensor([-1.0000,     nan])
    """
    constant = is_constant(a) | is_constant(b)
    a, b = (m.flatten(1) - m.flatten(1).mean(1, keepdim=True) for m in (a, b))
    found = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    return found.masked_fill(constant, torch.nan)


def unsigned(a: Tensor, b: Tensor) -> Tensor:
    """The size of Pearson's correlation: a map turned into its negative is not another map.

    >>> unsigned(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
    tensor([1.0000])
    """
    return pearson(a, b).abs()


SPEARMAN = Similarity(signed_ranks, pearson)
UNSIGNED_SPEARMAN = Similarity(signed_ranks, unsigned)
ABS_SPEARMAN = Similarity(absolute_ranks, pearson)
SSIM = Similarity(picture, ssim)
HOG = Similarity(histograms, pearson)
STRETCHED_SSIM = Similarity(stretched, ssim)
HOG_SPEARMAN = Similarity(histogram_ranks, pearson)


def register_similarity(
    name: str,
    read: Callable[[Tensor], Tensor],
    compare: Callable[[Tensor, Tensor], Tensor],
    *,
    overwrite: bool = False,
) -> None:
    """Gives a similarity of maps a name for the sanity checks and ``--similarity``.

    Args:
        name: as typed, a word without commas.
        read: what is compared of maps (N, ...); called once for each map.
        compare: from the readings of N pairs to a number for each, (N,): 1 for equal maps, nan
            where there is nothing to compare.
        overwrite: whether the name may be taken from another similarity.

    Raises:
        ValueError: if the name is taken.

    >>> def agreement(a, b):
    ...     return (a.sign() == b.sign()).flatten(1).float().mean(1)
    >>> register_similarity("agreement", lambda maps: maps, agreement)
    >>> SIMILARITIES["agreement"](torch.tensor([[1.0, -2.0]]), torch.tensor([[1.0, 2.0]]))
    tensor([0.5000])
    """
    SIMILARITIES.add(name, Similarity(read, compare), overwrite)


_N_MOVES = 16


def by_chance(similarity: Similarity, maps: Tensor) -> Tensor:
    """Similarity of each map with itself moved elsewhere, (N,): what no relation gives.

    A picture is moved around its borders by sixteen steps that cover it evenly (moves of at
    least a quarter would bring a blob in the middle to its own opposite, a rank correlation
    of -.5), features of a table are shuffled as often. So a map's own smoothness and sparseness
    are in the mean: smooth maps are more alike by chance than noise. Independent pairs of maps of
    one kind (noise, smooth, cut at 0, spots) score within .1 of it.

    >>> by_chance(SIMILARITIES["spearman"], torch.randn(1, 3, 64, 64)).abs() < 0.05
    tensor([True])
    """
    reading = similarity.read(maps)
    moved = (similarity.read(_moved(maps, k)) for k in range(_N_MOVES))
    found = torch.stack([similarity.compare(reading, other) for other in moved])
    return found.nanmean(0)


def _moved(maps: Tensor, k: int) -> Tensor:
    if maps.dim() == 2:
        order = torch.randperm(maps.shape[1], generator=stream(k))
        return maps[:, order.to(maps.device)]
    # As channels are summed where there are images.
    axes = tuple(range(min(maps.dim() - 2, 2), maps.dim()))
    # A lattice: each axis is divided evenly, and no two axes in step.
    shares = [((2 * k + 1) * stride / (2 * _N_MOVES)) % 1 for stride in (1, 7, 11, 13)]
    steps = [round(share * maps.shape[axis]) for share, axis in zip(shares, axes, strict=False)]
    return maps.roll(steps, axes)


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """The similarities' names, or an error that lists the known ones."""
    names = (names,) if isinstance(names, str) else tuple(names)
    if not names or any(name not in SIMILARITIES for name in names):
        raise ValueError(f"`similarity` is some of {[*SIMILARITIES]}, but got {list(names)}.")
    return names


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
