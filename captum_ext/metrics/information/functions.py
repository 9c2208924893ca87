"""Information curves as functions, and all of them from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchmetrics import MetricCollection
from typing_extensions import Unpack

from captum_ext._torchmetrics import MetricOptions
from captum_ext._typing import Baselines, FeatureMask, Forward, Inputs, Target
from captum_ext.curve import Curve
from captum_ext.metrics.information.aic_sic import AIC, SIC, Settings
from captum_ext.metrics.information.protocol import LEVELS


class _More(Settings, MetricOptions, total=False):
    """What `information_metrics` hands on to each of its metrics."""


def information_metrics(
    forward_func: Forward, levels: Sequence[str] = LEVELS, **settings: Unpack[_More]
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
    forward_func: Forward,
    inputs: Inputs,
    attributions: Inputs,
    baselines: Baselines = None,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: FeatureMask = None,
    *,
    level: str = "ms_ssim",
    **settings: Unpack[Settings],
) -> Curve:
    """AIC of a batch: (N, points) by image, or (1, bins) with the preset "idgi".

    Arguments as of `AccuracyInformationCurve` and its ``update``.

    >>> import torch
    >>> model = lambda x: torch.cat([x.mean((2, 3)), 1 - x.mean((2, 3))], 1)
    >>> image = torch.rand(1, 1, 16, 16)
    >>> accuracy_information_curve(model, image, image, target=0).y.shape
    torch.Size([1, 100])
    """
    data = (inputs, attributions, baselines, target, additional_forward_args, feature_mask)
    return _curve_of(AIC(forward_func, level, sync_on_compute=False, **settings), data)


def softmax_information_curve(
    forward_func: Forward,
    inputs: Inputs,
    attributions: Inputs,
    baselines: Baselines = None,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: FeatureMask = None,
    *,
    level: str = "ms_ssim",
    **settings: Unpack[Settings],
) -> Curve:
    """SIC of a batch: (N, points) by image, or (1, bins) with the preset "idgi".

    Arguments as of `SoftmaxInformationCurve` and its ``update``.

    >>> import torch
    >>> model = lambda x: torch.cat([x.mean((2, 3)), 1 - x.mean((2, 3))], 1)
    >>> image = torch.rand(1, 1, 16, 16)
    >>> softmax_information_curve(model, image, image, target=0, preset="xrai").y.shape
    torch.Size([1, 1001])
    """
    data = (inputs, attributions, baselines, target, additional_forward_args, feature_mask)
    return _curve_of(SIC(forward_func, level, sync_on_compute=False, **settings), data)


def _curve_of(metric: AIC | SIC, data: tuple[Any, ...]) -> Curve:
    metric.update(*data)
    return metric.curve() if metric._how.n_bins else metric._curves()
