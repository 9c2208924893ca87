"""Information curves as functions, and all of them from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchmetrics import MetricCollection

from captum_ext._typing import Forward
from captum_ext.curve import Curve
from captum_ext.metrics.information.aic_sic import AIC, SIC
from captum_ext.metrics.information.protocol import LEVELS


def information_metrics(
    forward_func: Forward, levels: Sequence[str] = LEVELS, **settings: Any
) -> MetricCollection:
    """AIC and SIC at every level from one pass over the frames.

    Args:
        forward_func: as of `AccuracyInformationCurve`.
        levels: what measures information.
        settings: further arguments of `AccuracyInformationCurve`.

    >>> [*information_metrics(lambda x: x.mean((2, 3)), preset="tmlr").keys()]
    ['aic_entropy', 'aic_ms_ssim', 'sic_entropy', 'sic_ms_ssim']
    """
    metrics: dict[str, Any] = {
        f"{name}_{level}": kind(forward_func, level, measured=levels, **settings)
        for name, kind in (("aic", AIC), ("sic", SIC))
        for level in levels
    }
    return MetricCollection(metrics, compute_groups=[list(metrics)])


def accuracy_information_curve(
    forward_func: Forward, *data: Any, level: str = "ms_ssim", preset: Any = "idgi", **named: Any
) -> Curve:
    """AIC of a batch: (N, points) by image, or (1, bins) with the preset "idgi".

    Arguments as of `AccuracyInformationCurve` and its ``update``.

    >>> import torch
    >>> model = lambda x: torch.cat([x.mean((2, 3)), 1 - x.mean((2, 3))], 1)
    >>> image = torch.rand(1, 1, 16, 16)
    >>> accuracy_information_curve(model, image, image, target=0).y.shape
    torch.Size([1, 100])
    """
    return _curve_of(AIC, forward_func, data, level, preset, named)


def softmax_information_curve(
    forward_func: Forward, *data: Any, level: str = "ms_ssim", preset: Any = "idgi", **named: Any
) -> Curve:
    """SIC of a batch: (N, points) by image, or (1, bins) with the preset "idgi".

    Arguments as of `SoftmaxInformationCurve` and its ``update``.

    >>> import torch
    >>> model = lambda x: torch.cat([x.mean((2, 3)), 1 - x.mean((2, 3))], 1)
    >>> image = torch.rand(1, 1, 16, 16)
    >>> softmax_information_curve(model, image, image, target=0, preset="xrai").y.shape
    torch.Size([1, 1001])
    """
    return _curve_of(SIC, forward_func, data, level, preset, named)


def _curve_of(
    kind: type[AIC] | type[SIC],
    forward_func: Forward,
    data: tuple[Any, ...],
    level: str,
    preset: Any,
    named: dict[str, Any],
) -> Curve:
    settings = {
        name: named.pop(name)
        for name in ("reduction", "internal_batch_size", "seed", "base")
        if name in named
    }
    metric = kind(forward_func, level, preset, sync_on_compute=False, **settings)
    metric.update(*data, **named)
    return metric.curve() if metric._how.n_bins else metric._curves()
