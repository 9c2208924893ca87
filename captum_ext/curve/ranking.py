"""Ranking: which feature comes first, by exact position, ties in a seeded order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated as Shaped

import torch
from torch import Tensor

from captum_ext._random import stream
from captum_ext._tensors import accumulation_dtype
from captum_ext._typing import FeatureMask, Tensors

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda credit: credit,
    "abs_sum": torch.abs,
}
"""How the attributions of one feature's elements become one number: their sum, which keeps the
sign, or the sum of their absolute values."""


@dataclass(frozen=True)
class Ranking:
    """The place of every feature: 0 is revealed (or deleted) first.

    Args:
        positions: per input tensor the place of each element's feature, (N, ...), broadcasting
            over the channels of images.
        n_features: how many features each example has, (N,).
    """

    positions: Shaped[Tensors, "N ..."]
    n_features: Shaped[Tensor, "N"]

    def reversed(self) -> Ranking:
        """Last first, features of equal attribution too: deleting c of n shows its first n - c."""
        last = self.n_features - 1
        flipped = tuple(last.view(-1, *[1] * (p.dim() - 1)) - p for p in self.positions)
        return Ranking(flipped, self.n_features)


def rank(
    attributions: Tensors,
    feature_mask: FeatureMask = None,
    reduction: str = "sum",
    seed: int = 0,
) -> Ranking:
    """Ranks features by attribution, largest first.

    A feature is a pixel (all channels together) where tensors are images or videos (4 or more
    dimensions), else one element; with ``feature_mask`` all elements of an example with one
    number. A group's score is the mean over its elements, since methods that take a
    ``feature_mask`` credit every element with its whole group.

    Args:
        attributions: per input tensor, (N, ...); nan counts as the least.
        feature_mask: per input tensor integers of the inputs' shape, or of 1 where it
            broadcasts; the same number in two tensors is one feature, as in Captum's Lime.
        reduction: "sum" keeps signs, "abs_sum" adds absolute values.
        seed: of the order among equals; the same for every example.

    >>> rank((torch.tensor([[0.1, 0.9, 0.5]]),)).positions
    (tensor([[2, 0, 1]]),)
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"`reduction` is one of {[*REDUCTIONS]}, but got {reduction!r}.")
    credits = [REDUCTIONS[reduction](a.to(accumulation_dtype(a.device))) for a in attributions]
    if feature_mask is not None:
        return _rank_groups(credits, _format_mask(feature_mask, attributions), seed)
    scores = [c.sum(1, keepdim=True) if c.dim() >= 4 else c for c in credits]
    places = _places(torch.cat([s.flatten(1) for s in scores], 1), seed)
    n_features = torch.full_like(places[:, 0], places.shape[1])
    parts = torch.split(places, [s[0].numel() for s in scores], 1)
    return Ranking(tuple(p.view_as(s) for p, s in zip(parts, scores, strict=True)), n_features)


def _rank_groups(credits: list[Tensor], masks: Tensors, seed: int) -> Ranking:
    flat = torch.cat([c.flatten(1) for c in credits], 1)
    numbers = torch.cat([m.flatten(1) for m in masks], 1)
    # An example's groups are counted by themselves: the order among equals would else depend on
    # the groups of its batch. Where all share one mask, they are ranked at once.
    shared = bool((numbers == numbers[:1]).all())
    blocks = [slice(None)] if shared else [slice(i, i + 1) for i in range(len(flat))]
    found = [_group_places(flat[block], numbers[block][0], seed) for block in blocks]
    places, n_features = (torch.cat(part) for part in zip(*found, strict=True))
    parts = torch.split(places, [c[0].numel() for c in credits], 1)
    positions = tuple(p.reshape(c.shape) for p, c in zip(parts, credits, strict=True))
    return Ranking(positions, n_features)


def _group_places(
    credits: Shaped[Tensor, "N elements"], numbers: Shaped[Tensor, "elements"], seed: int
) -> tuple[Shaped[Tensor, "N elements"], Shaped[Tensor, "N"]]:
    """The place of each element's group, (N, elements), and how many groups there are, (N,)."""
    _, groups, sizes = torch.unique(numbers, return_inverse=True, return_counts=True)
    sums = credits.new_zeros(len(credits), len(sizes)).index_add_(1, groups, credits)
    places = _places(sums / sizes, seed)[:, groups]
    return places, torch.full_like(places[:, 0], len(sizes))


def _places(scores: Shaped[Tensor, "N F"], seed: int) -> Shaped[Tensor, "N F"]:
    """The place of each of F scores in falling order, (N, F)."""
    generator = stream(seed)
    shuffle = torch.randperm(scores.shape[1], generator=generator).to(scores.device)
    # Shuffled, then sorted stably: in the order of places the equal pixels of a map, often most of
    # them, would be revealed row by row. And nan, which torch sorts as the greatest, comes last.
    known = scores.masked_fill(scores.isnan(), -torch.inf)[:, shuffle]
    order = shuffle[torch.argsort(known, dim=1, descending=True, stable=True)]
    places = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def _format_mask(feature_mask: FeatureMask, attributions: Tensors) -> Tensors:
    masks = feature_mask if isinstance(feature_mask, tuple) else (feature_mask,)
    if len(masks) != len(attributions):
        raise ValueError(
            f"`feature_mask` needs one tensor per input tensor, but got {len(masks)} "
            f"for {len(attributions)}."
        )
    return tuple(_expand_mask(m, a) for m, a in zip(masks, attributions, strict=True))


def _expand_mask(mask: Tensor | None, attribution: Tensor) -> Tensor:
    if not isinstance(mask, Tensor) or mask.is_floating_point():
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"`feature_mask` holds a feature's number per element, but got {kind}.")
    try:
        return mask.to(attribution.device).long().expand_as(attribution)
    except RuntimeError:
        raise ValueError(
            f"`feature_mask` must have or broadcast to the inputs' shape "
            f"{tuple(attribution.shape)}, but got {tuple(mask.shape)}."
        ) from None
