"""Localization: how well a map finds the pixels that people annotated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torchvision.tv_tensors import BoundingBoxes
from typing_extensions import Unpack

from captum_ext._numbers import at_least_zero
from captum_ext._tensors import accumulation_dtype, moved
from captum_ext._text import number_of
from captum_ext._torchmetrics import MetricOptions
from captum_ext.curve.ranking import REDUCTIONS
from captum_ext.metrics.base.checks import require_real
from captum_ext.metrics.base.example import Reason
from captum_ext.metrics.base.means import TableMetric

SCORES = ("roc_auc", "f1", "mae", "pointing_game", "energy")


def localization(
    attributions: Tensor,
    masks: Tensor | Sequence[Tensor],
    tolerance: float = 15.0,
    reduction: str = "sum",
) -> dict[str, Tensor]:
    """How well maps find annotated pixels, several scores of each image.

    Args:
        attributions: (N, C, H, W) or (N, H, W), larger where the evidence is stronger.
        masks: (N, H, W) or (N, 1, H, W), nonzero inside; or for each image its boxes
            (boxes, 4) as x0, y0, x1, y1 in pixels or as `BoundingBoxes`, whose union is inside.
        tolerance: how many pixels beside the annotation still hit, in the pointing game.
        reduction: how channels become one map: "sum" or "abs_sum".

    Returns:
        (N,) each, nan where the annotation is empty or full or the map not finite:
        ``roc_auc``, area under the ROC curve of the pixels; ``f1`` and ``mae``, the best F1
        and the lowest share of wrong pixels over all thresholds of the map (weakly
        supervised localization of Yang, Wang and Bilgic, CVPR 2023); ``pointing_game``, 1 if
        the map's maximum is a hit (Zhang et al., ECCV 2016), the share among equal maxima;
        ``energy``, the share of positive credit inside (Wang et al., CVPRW 2020), nan without.

    >>> mask = torch.tensor([[[1, 0], [0, 0]]])
    >>> scores = localization(torch.tensor([[[0.9, 0.1], [0.0, 0.0]]]), mask, tolerance=0)
    >>> {name: round(float(value), 2) for name, value in scores.items()}
    {'roc_auc': 1.0, 'f1': 1.0, 'mae': 0.0, 'pointing_game': 1.0, 'energy': 0.9}
    """
    at_least_zero("tolerance", tolerance)
    maps = _format_maps(attributions, reduction)
    inside = _format_masks(masks, maps)
    codes = _codes(maps, inside)
    finite = torch.isfinite(maps).flatten(1).all(1, keepdim=True)
    flat = torch.where(finite, maps.flatten(1), 0.0)
    hits = inside.flatten(1).to(flat)
    found = {
        "roc_auc": _roc_auc(flat, hits),
        **_best_thresholds(flat, hits),
        "pointing_game": _pointing_game(flat.view_as(maps), inside, tolerance),
        "energy": _energy(flat, hits),
    }
    columns = zip(SCORES, codes.unbind(1), strict=True)
    return {name: found[name].masked_fill(code != 0, torch.nan) for name, code in columns}


def _roc_auc(maps: Tensor, hits: Tensor) -> Tensor:
    """Chance that a pixel inside ranks above one outside, equals half (Mann and Whitney)."""
    ordered = maps.sort(1).values
    low, high = (torch.searchsorted(ordered, maps, right=side) for side in (False, True))
    ranks = (low + high + 1) / 2
    n_in = hits.sum(1)
    n_out = hits.shape[1] - n_in
    return ((ranks * hits).sum(1) - n_in * (n_in + 1) / 2) / (n_in * n_out)


def _best_thresholds(maps: Tensor, hits: Tensor) -> dict[str, Tensor]:
    """The best F1 and error over the thresholds "at least this value of the map"."""
    ordered, order = maps.sort(1, descending=True)
    found = hits.gather(1, order).cumsum(1)
    chosen = torch.arange(1, maps.shape[1] + 1, device=maps.device)
    n_in = hits.sum(1, keepdim=True)
    # Equal values pass a threshold together, so that only the last of them counts.
    last = torch.ones_like(ordered, dtype=torch.bool)
    last[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
    f1 = (2 * found / (chosen + n_in)).masked_fill(~last, 0.0)
    error = ((chosen + n_in - 2 * found) / maps.shape[1]).masked_fill(~last, torch.inf)
    return {"f1": f1.amax(1), "mae": error.amin(1)}


def _pointing_game(maps: Tensor, inside: Tensor, tolerance: float) -> Tensor:
    hits = [
        _hits(image == image.max(), mask, tolerance)
        for image, mask in zip(maps, inside, strict=True)
    ]
    return moved(torch.stack(hits), maps.device, maps.dtype)


def _hits(maxima: Tensor, mask: Tensor, tolerance: float) -> Tensor:
    if not mask.any():
        return torch.tensor(torch.nan)
    # Exact, and independent of how many maxima there are: a constant map has as many as pixels.
    distance = torch.from_numpy(distance_transform_edt(~mask.cpu().numpy()))
    return (distance[maxima.cpu()] <= tolerance).double().mean()


def _energy(maps: Tensor, hits: Tensor) -> Tensor:
    positive = maps.clamp_min(0)
    return (positive * hits).sum(1) / positive.sum(1)


class NoScore(Reason):
    """Why a map has no score of localization."""

    NOT_FINITE = "attributions not finite"
    EMPTY = "annotation empty"
    FULL = "annotation full"
    NOT_POSITIVE = "no positive attribution"


def _codes(maps: Tensor, inside: Tensor) -> Tensor:
    """0, or why a score is undefined: a `NoScore`, (N, scores)."""
    pixels, values = inside.flatten(1), maps.flatten(1)
    codes = torch.where(pixels.any(1), 0, NoScore.EMPTY)
    codes = torch.where(pixels.all(1), NoScore.FULL, codes)
    codes = torch.where(torch.isfinite(values).all(1), codes, NoScore.NOT_FINITE)
    by_score = codes[:, None].repeat(1, len(SCORES))
    nothing = (codes == 0) & ~(values > 0).any(1)
    by_score[nothing, SCORES.index("energy")] = NoScore.NOT_POSITIVE
    return by_score


def _format_maps(attributions: Tensor, reduction: str) -> Tensor:
    if not isinstance(attributions, Tensor) or attributions.dim() not in (3, 4):
        what = (
            tuple(attributions.shape)
            if isinstance(attributions, Tensor)
            else type(attributions).__name__
        )
        raise ValueError(
            "`attributions` are maps (N, channels, height, width) or (N, height, width), but "
            f"got {what}."
        )
    require_real([attributions])
    if reduction not in REDUCTIONS:
        raise ValueError(f"`reduction` is one of {[*REDUCTIONS]}, but got {reduction!r}.")
    maps = attributions if attributions.dim() == 4 else attributions[:, None]
    wide = maps.detach().to(accumulation_dtype(maps.device))
    return REDUCTIONS[reduction](wide).sum(1)


def _format_masks(masks: Tensor | Sequence[Tensor], maps: Tensor) -> Tensor:
    if not isinstance(masks, Tensor):
        if len(masks) != len(maps):
            raise ValueError(
                f"`masks` needs the boxes of each of {number_of(len(maps), 'image')}, but got "
                f"{len(masks)}."
            )
        return boxes_to_masks(masks, *maps.shape[1:]).to(maps.device)
    flat = masks[:, 0] if masks.dim() == 4 and masks.shape[1] == 1 else masks
    if flat.shape != maps.shape:
        raise ValueError(
            f"`masks` must have the maps' shape {tuple(maps.shape)}, or be a list of boxes per "
            f"image, but got {tuple(masks.shape)}."
        )
    return flat.to(maps.device) != 0


def boxes_to_masks(boxes: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Masks (N, height, width) of the pixels whose center lies in a box of their image.

    Args:
        boxes: for each image (boxes, 4), x0, y0, x1, y1 in pixels from the corner; or torchvision's
            `BoundingBoxes`, which say themselves whether they are XYXY, XYWH or CXCYWH.
        height, width: of the images.

    Raises:
        ValueError: if boxes are rotated, of a canvas of another size, not finite, or end before
            they start.

    >>> boxes_to_masks([torch.tensor([[1.0, 0.0, 3.0, 1.0]])], 2, 3).int()
    tensor([[[0, 1, 1], [0, 0, 0]]], dtype=torch.int32)
    """
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    for mask, image_boxes in zip(masks, boxes, strict=True):
        for x0, y0, x1, y1 in _corners(image_boxes, height, width).tolist():
            mask |= ((rows >= y0) & (rows < y1))[:, None] & (columns >= x0) & (columns < x1)
    return masks


def _corners(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes (boxes, 4) as x0, y0, x1, y1, checked."""
    numbers = torch.as_tensor(boxes).as_subclass(Tensor).cpu().double()
    kind = boxes.format.value if isinstance(boxes, BoundingBoxes) else "XYXY"
    if kind not in _TO_CORNERS:
        raise ValueError(
            f"`masks` as boxes are upright ({', '.join(_TO_CORNERS)}), but got {kind}: give a mask."
        )
    if isinstance(boxes, BoundingBoxes) and tuple(boxes.canvas_size) != (height, width):
        raise ValueError(
            f"`masks` as boxes are of images of {height} x {width} pixels, but their canvas is "
            f"{tuple(boxes.canvas_size)}: resize them with the images."
        )
    if numbers.numel() and (numbers.dim() != 2 or numbers.shape[1] != 4):
        raise ValueError(
            f"`masks` as boxes are (boxes, 4) for each image, but got {tuple(numbers.shape)}."
        )
    x0, y0, x1, y1 = corners = _TO_CORNERS[kind](*numbers.reshape(-1, 4).unbind(1))
    if not all(side.isfinite().all() for side in corners) or (x1 < x0).any() or (y1 < y0).any():
        raise ValueError(
            "`masks` as boxes are x0, y0, x1, y1 with x0 <= x1 and y0 <= y1, but got "
            f"{numbers.tolist()[:3]}: tell other formats as torchvision.tv_tensors.BoundingBoxes."
        )
    return torch.stack(corners, 1)


# From torchvision's formats to the corners.
_TO_CORNERS: dict[str, Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]] = {
    "XYXY": lambda x0, y0, x1, y1: (x0, y0, x1, y1),
    "XYWH": lambda x, y, w, h: (x, y, x + w, y + h),
    "CXCYWH": lambda x, y, w, h: (x - w / 2, y - h / 2, x + w / 2, y + h / 2),
}


class Localization(TableMetric):
    """How well maps find annotated pixels: `localization` over a data set.

    No model is asked. Of the scores, ``mae`` is better lower, the others higher. Compare
    them with those of a centered Gaussian: annotated things tend to be in the middle.

    Args:
        tolerance: pixels beside the annotation that still hit, in the pointing game.
        reduction: how channels become one map: "sum" or "abs_sum".
        kwargs: of `torchmetrics.Metric`.

    >>> metric = Localization()
    >>> metric.update(torch.rand(2, 3, 8, 8), [torch.tensor([[0, 0, 4, 4]])] * 2)
    >>> sorted(metric.compute())
    ['energy', 'f1', 'mae', 'pointing_game', 'roc_auc']
    """

    REASONS = NoScore
    averages_rows = True
    higher_is_better = None

    def __init__(
        self, tolerance: float = 15.0, reduction: str = "sum", **kwargs: Unpack[MetricOptions]
    ) -> None:
        at_least_zero("tolerance", tolerance)
        if reduction not in REDUCTIONS:
            raise ValueError(f"`reduction` is one of {[*REDUCTIONS]}, but got {reduction!r}.")
        super().__init__(len(SCORES), **kwargs)
        self.tolerance, self.reduction = tolerance, reduction
        for name in SCORES:
            self._add_list(name)

    def update(self, attributions: Tensor, masks: Tensor | Sequence[Tensor]) -> None:
        """Adds images; arguments as of `localization`."""
        scores = localization(attributions, masks, self.tolerance, self.reduction)
        maps = _format_maps(attributions, self.reduction)
        self._append(codes=_codes(maps, _format_masks(masks, maps)), **scores)

    def _tables(self) -> dict[str, Tensor]:
        return {name: self._rows(name) for name in SCORES}

    @property
    def protocol(self) -> dict[str, Any]:
        """Everything that decides the numbers."""
        return {
            **super().protocol,
            "tolerance": self.tolerance,
            "reduction": self.reduction,
            "thresholds": "all values of the map",
        }
