"""Captum's private helpers, and what else is needed of it, enter here alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from captum._utils.common import (
    _format_additional_forward_args as format_additional_forward_args,
    _select_targets as select_targets,
)
from captum._utils.gradient import compute_gradients
from captum.attr import (
    Attribution,
    GradientAttribution,
    LayerAttribution,
    PerturbationAttribution,
)
from captum.log import log_usage as _log_usage

__all__ = [
    "Attribution",
    "GradientAttribution",
    "LayerAttribution",
    "PerturbationAttribution",
    "compute_gradients",
    "format_additional_forward_args",
    "log_usage",
    "select_targets",
]

Method = TypeVar("Method", bound=Callable[..., Any])


def log_usage() -> Callable[[Method], Method]:
    """Captum's decorator, which has no types and so would take those of what it wraps."""
    decorate: Callable[[Method], Method] = _log_usage()
    return decorate
