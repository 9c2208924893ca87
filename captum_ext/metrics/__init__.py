"""Metrics of attributions: torchmetrics classes, each with a pure function beside it."""

from captum_ext.metrics.base import ExampleMetric
from captum_ext.metrics.curve_metric import CurveMetric
from captum_ext.metrics.insertion_deletion import (
    Deletion,
    Insertion,
    deletion,
    deletion_curve,
    insertion,
    insertion_curve,
)

__all__ = [
    "CurveMetric",
    "Deletion",
    "ExampleMetric",
    "Insertion",
    "deletion",
    "deletion_curve",
    "insertion",
    "insertion_curve",
]
