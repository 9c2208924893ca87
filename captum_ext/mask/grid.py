"""What a mask is made of: the cells of a coarse grid over images, or groups of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated as Shaped, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from captum_ext._numbers import pair
from captum_ext._text import number_of
from captum_ext._typing import FeatureMask, Tensors

__all__ = ["FeatureGroups", "Grid", "MaskGrid"]


class Grid(Protocol):
    """How the cells of a mask, (N, cells), lie over the inputs."""

    def count(self, inputs: Tensors) -> int:
        """How many cells a mask of these inputs has, all tensors together."""

    def counts(self, inputs: Tensors) -> Shaped[Tensor, "N"]:
        """How many cells, the first ones, are each example's own, (N,)."""

    def maps(self, cells: Shaped[Tensor, "N cells"], inputs: Tensors) -> Shaped[Tensors, "N ..."]:
        """The cells of each input tensor in the order of their neighborhood."""

    def enlarge(
        self, cells: Shaped[Tensor, "N cells"], inputs: Tensors
    ) -> Shaped[Tensors, "N ..."]:
        """The mask value of each feature, broadcastable to each input tensor."""

    def of(self, rows: Tensor) -> Grid:
        """The grid of some of the examples."""


@dataclass(frozen=True)
class MaskGrid:
    """A grid of cells over images, enlarged bilinearly with aligned corners.

    Each image of a tuple of inputs has a grid of its own; its channels share it.

    Args:
        size: cells along height and width; two numbers; or None for one cell per pixel.

    Raises:
        ValueError: on a size below 1.

    >>> images = (torch.zeros(1, 3, 1, 3),)
    >>> MaskGrid((1, 2)).enlarge(torch.tensor([[0.0, 1.0]]), images)[0]
    tensor([[[[0.0000, 0.5000, 1.0000]]]])
    """

    size: int | tuple[int, int] | None = 28

    def __post_init__(self) -> None:
        if self.size is not None and min(pair("mask_size", self.size)) < 1:
            raise ValueError(
                f"`mask_size` counts the cells of a mask along height and width, at least 1, "
                f"but got {self.size}."
            )

    def count(self, inputs: Tensors) -> int:
        return sum(h * w for h, w in self._sizes(inputs))

    def counts(self, inputs: Tensors) -> Shaped[Tensor, "N"]:
        """All examples have the same number."""
        x = inputs[0]
        return torch.full((x.shape[0],), self.count(inputs), device=x.device)

    def maps(self, cells: Shaped[Tensor, "N cells"], inputs: Tensors) -> Shaped[Tensors, "N ..."]:
        """Shape (N, 1, height, width) of the grid, one per input tensor."""
        sizes = self._sizes(inputs)
        parts = torch.split(cells, [h * w for h, w in sizes], dim=-1)
        return tuple(p.reshape(-1, 1, h, w) for p, (h, w) in zip(parts, sizes, strict=True))

    def enlarge(
        self, cells: Shaped[Tensor, "N cells"], inputs: Tensors
    ) -> Shaped[Tensors, "N ..."]:
        """Shape (N, 1, height, width) of the images, one per input tensor."""
        pairs = zip(self.maps(cells, inputs), inputs, strict=True)
        # Bilinear weights add up to 1 within a rounding error only: a mask of ones stays exactly 1.
        return tuple(1 - enlarge(1 - m, (x.shape[-2], x.shape[-1])) for m, x in pairs)

    def of(self, rows: Tensor) -> MaskGrid:
        """The same grid: it lies alike over all examples."""
        return self

    def _sizes(self, inputs: Tensors) -> list[tuple[int, int]]:
        return [self._size(x) for x in inputs]

    def _size(self, x: Tensor) -> tuple[int, int]:
        if x.dim() != 4:
            raise ValueError(
                f"`feature_mask` is needed for inputs that are not images (N, C, H, W), but got "
                f"inputs of shape {tuple(x.shape)}: number the features that share a mask value, "
                "from 0, in a tensor of the inputs' shape"
                f"{', or give a single image as `inputs[None]`' if x.dim() == 3 else ''}."
            )
        image = (x.shape[-2], x.shape[-1])
        if self.size is None:
            return image
        size = pair("mask_size", self.size)
        if size[0] > image[0] or size[1] > image[1]:
            raise ValueError(
                f"`mask_size` must not exceed the image, but got {size[0]} x {size[1]} for "
                f"{image[0]} x {image[1]}: choose a smaller one, or None for one cell per pixel."
            )
        return size


@dataclass(frozen=True)
class FeatureGroups:
    """One cell per group of features: tabular columns, tokens, superpixels.

    Args:
        feature_mask: one integer tensor per input tensor, in its shape or with a first dimension
            of 1; equal numbers share a cell, also across tensors. Each example's numbers run from
            0 without gaps.

    >>> groups = FeatureGroups((torch.tensor([[0, 0, 1]]),))
    >>> groups.enlarge(torch.tensor([[0.2, 1.0]]), (torch.zeros(1, 3),))
    (tensor([[0.2000, 0.2000, 1.0000]]),)
    """

    feature_mask: Tensors

    def count(self, inputs: Tensors) -> int:
        return int(max(int(m.max()) for m in self.feature_mask)) + 1

    def counts(self, inputs: Tensors) -> Shaped[Tensor, "N"]:
        """An example that has fewer groups than another has fewer cells."""
        most = torch.stack([m.flatten(1).amax(1).expand(len(inputs[0])) for m in self.feature_mask])
        return most.amax(0).to(inputs[0].device) + 1

    def maps(self, cells: Shaped[Tensor, "N cells"], inputs: Tensors) -> Shaped[Tensors, "N ..."]:
        """Shape (N, groups): groups have no neighbors, so nothing is smooth or rough."""
        return (cells,)

    def enlarge(
        self, cells: Shaped[Tensor, "N cells"], inputs: Tensors
    ) -> Shaped[Tensors, "N ..."]:
        """Exactly the inputs' shape, with as many examples as ``cells``."""
        return tuple(_spread(cells, m) for m in self.feature_mask)

    def of(self, rows: Tensor) -> FeatureGroups:
        """The groups of some examples, where each example has groups of its own."""
        return FeatureGroups(
            tuple(m[rows.to(m.device)] if m.shape[0] > 1 else m for m in self.feature_mask)
        )

    @classmethod
    def checked(cls, feature_mask: FeatureMask, inputs: Tensors) -> FeatureGroups:
        """Groups from Captum's ``feature_mask``, renumbered without gaps, each example's alone.

        Raises:
            TypeError: if the masks are not integer tensors.
            ValueError: if their shapes are not the inputs'.
        """
        masks = feature_mask if isinstance(feature_mask, tuple) else (feature_mask,)
        if len(masks) != len(inputs):
            raise ValueError(
                f"`feature_mask` needs one tensor per input tensor, but got {len(masks)} for "
                f"{number_of(len(inputs), 'input')}."
            )
        for m, x in zip(masks, inputs, strict=True):
            _check(m, x)
        whole = [m for m in masks if isinstance(m, Tensor)]
        n = max(m.shape[0] for m in whole)
        numbers = torch.cat([m.expand(n, *m.shape[1:]).flatten(1) for m in whole], 1)
        # Numbers made dense over the batch would give an example cells that it lacks.
        dense = torch.stack([torch.unique(row, return_inverse=True)[1] for row in numbers])
        parts = torch.split(dense, [m[0].numel() for m in whole], dim=1)
        device = inputs[0].device
        return cls(
            tuple(p.view(n, *m.shape[1:]).to(device) for p, m in zip(parts, whole, strict=True))
        )


def read(grid: Grid, maps: Shaped[Tensors, "N ..."], inputs: Tensors) -> Shaped[Tensor, "N cells"]:
    """The mean that each cell finds in maps of the inputs' shape; 0 for cells an example lacks.

    A feature counts by how much of it is the cell's: the weights are those of ``grid.enlarge``.

    >>> images = (torch.zeros(1, 1, 1, 3),)
    >>> read(MaskGrid((1, 2)), (torch.tensor([[[[3.0, 1.5, 0.0]]]]),), images)
    tensor([[2.5000, 0.5000]])
    """
    x = inputs[0]
    with torch.enable_grad():
        cells = x.new_zeros(x.shape[0], grid.count(inputs)).requires_grad_()
        enlarged = grid.enlarge(cells, inputs)
        # Enlarging is linear, so that its gradient is its transpose, whatever the grid.
        sums, weights = (
            torch.autograd.grad(
                torch.stack([(e * m).sum() for e, m in zip(enlarged, of, strict=True)]).sum(),
                cells,
                retain_graph=True,
            )[0]
            for of in (maps, tuple(torch.ones_like(m) for m in maps))
        )
    return sums / torch.where(weights > 0, weights, 1.0)


def enlarge(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask (N, 1, h, w) at another size, bilinear with aligned corners."""
    if mask.shape[-2:] == size:
        return mask
    # As torch's UpsamplingBilinear2d, which the published code takes: outer cells lie on the
    # border. Cells in the middle of their area would leave half a cell of it flat.
    return F.interpolate(mask, size, mode="bilinear", align_corners=True)


def _spread(cells: Tensor, mask: Tensor) -> Tensor:
    index = mask.to(cells.device).expand(cells.shape[0], *mask.shape[1:])
    return cells.gather(1, index.flatten(1)).view(index.shape)


def _check(mask: object, x: Tensor) -> None:
    if not isinstance(mask, Tensor) or mask.is_floating_point() or mask.is_complex():
        raise TypeError(
            "`feature_mask` is made of integer tensors, one group number per feature, but got "
            f"{mask.dtype if isinstance(mask, Tensor) else type(mask).__name__}."
        )
    n_examples = x.shape[0]
    fits = mask.dim() == x.dim() and mask.shape[0] in (1, n_examples)
    if not fits or _unequal(tuple(mask.shape[1:]), tuple(x.shape[1:])):
        raise ValueError(
            f"`feature_mask` must have the inputs' shape {tuple(x.shape)}, or 1 in place of its "
            f"first number, but got {tuple(mask.shape)}."
        )


def _unequal(mask: tuple[int, ...], x: tuple[int, ...]) -> bool:
    return any(m not in (1, n) for m, n in zip(mask, x, strict=True))
