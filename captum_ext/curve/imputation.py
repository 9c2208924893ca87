"""`NoisyLinear`: removed pixels are filled in from their neighbors, as ROAD does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated as Shaped

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor

from captum_ext._random import stream
from captum_ext._tensors import moved
from captum_ext._typing import PerRow, Rows, Tensors
from captum_ext.curve.bases import images_of
from captum_ext.curve.frames import FrameSource
from captum_ext.curve.ranking import Ranking

WEIGHTS = {(0, 1): 1 / 6, (1, 0): 1 / 6, (1, 1): 1 / 12, (1, -1): 1 / 12}
"""Weights of a pixel's eight neighbors, by half of the steps to them; they sum to 1."""


@dataclass(frozen=True)
class NoisyLinear:
    """Absent pixels are the weighted mean of their eight neighbors, plus a little noise.

    Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods" (ICML
    2022): direct neighbors weigh 1/6, diagonal ones 1/12, and one sparse linear system holds for
    all absent pixels of a frame. At the border the weights of the neighbors that exist are
    divided by their sum. Where nothing is shown, which the paper leaves open, pixels get the
    image's mean. Noise is cut where it would leave [0, 1] on an image inside.

    Args:
        noise: standard deviation, in units of the images; 0 is none.
        seed: of the noise, the same for every frame and image of a size.

    >>> from captum_ext.curve import rank
    >>> ramp = torch.arange(5.0).expand(1, 1, 5, 5) / 4
    >>> inner = torch.zeros(1, 1, 5, 5)
    >>> inner[..., 1:4, 1:4] = -1
    >>> frames = NoisyLinear(noise=0).frames((ramp,), rank((inner,)), torch.tensor([[16]]))
    >>> torch.allclose(frames.make(torch.tensor([0]), torch.tensor([16]))[0], ramp)
    True
    """

    noise: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.noise < float("inf"):
            raise ValueError(f"`noise` is a standard deviation, but got {self.noise}.")

    def frames(self, inputs: Tensors, ranking: Ranking, counts: Tensor) -> FrameSource:
        """Frames of images, (N, C, H, W); one system is solved for each."""
        images, (places,) = images_of(inputs, self), ranking.positions
        if (places != places[:, :1]).any():
            raise ValueError(
                "NoisyLinear removes a pixel with all its channels, but `feature_mask` tells "
                "channels apart: give it one channel."
            )
        return _ImputedFrames(images, places[:, 0], counts, self)


@dataclass(frozen=True)
class _ImputedFrames:
    images: Tensor
    places: Tensor
    counts: Tensor
    how: NoisyLinear

    @cached_property
    def _noise(self) -> Tensor:
        generator = stream(self.how.seed)
        drawn = torch.randn(self.images.shape[1:], generator=generator, dtype=torch.float64)
        return drawn * self.how.noise

    def make(self, rows: Rows, counts: PerRow) -> Shaped[Tensors, "M ..."]:
        shown = (self.places[rows] < counts.view(-1, 1, 1)).cpu()
        sharp = self.images[rows].detach().cpu().double()
        pairs = zip(sharp, shown, strict=True)
        made = torch.stack([self._filled(image, known) for image, known in pairs])
        given = self.images[rows]
        imputed = moved(made, given.device, given.dtype)
        return (torch.where(shown.to(rows.device)[:, None], given, imputed),)

    def _filled(self, image: Tensor, known: Tensor) -> Tensor:
        return (torch.from_numpy(impute(image.numpy(), known.numpy())) + self._noise).clamp(0, 1)


def impute(
    image: Shaped[np.ndarray, "C H W"], known: Shaped[np.ndarray, "H W"]
) -> Shaped[np.ndarray, "C H W"]:
    """An image (C, H, W) whose pixels that aren't ``known``, (H, W), solve ROAD's system.

    >>> image = np.array([[[0.0, 9.0, 1.0]]])
    >>> impute(image, np.array([[True, False, True]]))
    array([[[0. , 0.5, 1. ]]])
    """
    if not known.any():
        return np.broadcast_to(image.mean((1, 2), keepdims=True), image.shape).copy()
    weights = _weights(*known.shape)
    inside, outside = ~known.ravel(), known.ravel()
    # Rows stay undivided by their sums: the matrix is symmetric, and its factors are sparser.
    laplacian = (scipy.sparse.diags(np.asarray(weights.sum(1)).ravel()) - weights).tocsr()[inside]
    flat = image.reshape(len(image), -1).copy()
    if inside.any():
        solver = scipy.sparse.linalg.splu(
            laplacian[:, inside].tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            options={"SymmetricMode": True},
        )
        flat[:, inside] = solver.solve(-(laplacian[:, outside] @ flat[:, outside].T)).T
    return flat.reshape(image.shape)


def _weights(height: int, width: int) -> scipy.sparse.csr_matrix:
    """What each pixel weighs for each other, (pixels, pixels), symmetric."""
    numbers = np.arange(height * width).reshape(height, width)
    found = scipy.sparse.csr_matrix((height * width, height * width))
    for (down, right), weight in WEIGHTS.items():
        here = numbers[: height - down, max(0, -right) : width - max(0, right)].ravel()
        there = numbers[down:, max(0, right) : width + min(0, right)].ravel()
        pairs = (np.full(len(here), weight), (here, there))
        found = found + scipy.sparse.coo_matrix(pairs, shape=found.shape).tocsr()
    return found + found.T
