"""Insertion and deletion as functions."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from captum_ext._typing import Baselines, FeatureMask, Forward, Inputs, Target
from captum_ext.curve import Curve
from captum_ext.metrics.perturbation.perturb import Perturbation, Settings, perturb


def insertion_curve(
    forward_func: Forward,
    inputs: Inputs,
    attributions: Inputs,
    baselines: Baselines = None,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: FeatureMask = None,
    **settings: Unpack[Settings],
) -> Curve:
    """The probability of the target while features appear, best ranked first.

    Arguments as of `Insertion` and its ``update``. Rows are nan where the curve is undefined.

    >>> import torch
    >>> model = lambda x: x.mean(1, keepdim=True)
    >>> table = torch.tensor([[1.0, 0.0]])
    >>> insertion_curve(model, table, table, target=0, n_steps=2).y
    tensor([[0.0000, 0.5000, 0.5000]], dtype=torch.float64)
    """
    how = Perturbation(inserts=True, **settings)
    data = (inputs, attributions, baselines, target, additional_forward_args, feature_mask)
    return perturb(how, forward_func, *data)[0]


def deletion_curve(
    forward_func: Forward,
    inputs: Inputs,
    attributions: Inputs,
    baselines: Baselines = None,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: FeatureMask = None,
    **settings: Unpack[Settings],
) -> Curve:
    """The probability of the target while features vanish, best ranked first.

    Arguments as of `Deletion` and its ``update``. Rows are nan where the curve is undefined.

    >>> import torch
    >>> model = lambda x: x.mean(1, keepdim=True)
    >>> table = torch.tensor([[1.0, 0.0]])
    >>> deletion_curve(model, table, table, target=0, n_steps=2).y
    tensor([[0.5000, 0.0000, 0.0000]], dtype=torch.float64)
    """
    how = Perturbation(inserts=False, **settings)
    data = (inputs, attributions, baselines, target, additional_forward_args, feature_mask)
    return perturb(how, forward_func, *data)[0]


def insertion(
    forward_func: Forward,
    inputs: Inputs,
    attributions: Inputs,
    baselines: Baselines = None,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: FeatureMask = None,
    **settings: Unpack[Settings],
) -> Tensor:
    """Area under `insertion_curve` of each example, (N,); higher is better.

    >>> import torch
    >>> model = lambda x: x.mean(1, keepdim=True)
    >>> table = torch.tensor([[1.0, 0.0]])
    >>> insertion(model, table, table, target=0, n_steps=2)
    tensor([0.3750], dtype=torch.float64)
    """
    data = (inputs, attributions, baselines, target, additional_forward_args, feature_mask)
    return insertion_curve(forward_func, *data, **settings).area()


def deletion(
    forward_func: Forward,
    inputs: Inputs,
    attributions: Inputs,
    baselines: Baselines = None,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: FeatureMask = None,
    **settings: Unpack[Settings],
) -> Tensor:
    """Area under `deletion_curve` of each example, (N,); lower is better.

    >>> import torch
    >>> model = lambda x: x.mean(1, keepdim=True)
    >>> table = torch.tensor([[1.0, 0.0]])
    >>> deletion(model, table, table, target=0, n_steps=2)
    tensor([0.1250], dtype=torch.float64)
    """
    data = (inputs, attributions, baselines, target, additional_forward_args, feature_mask)
    return deletion_curve(forward_func, *data, **settings).area()
