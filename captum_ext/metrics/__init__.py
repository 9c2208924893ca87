"""Metrics of attributions: torchmetrics classes, each with a pure function beside it."""

from captum_ext.metrics.base import ExampleMetric
from captum_ext.metrics.curve_metric import CurveMetric
from captum_ext.metrics.information_curve import (
    AIC,
    SIC,
    AccuracyInformationCurve,
    SoftmaxInformationCurve,
)
from captum_ext.metrics.information_functions import (
    accuracy_information_curve,
    information_metrics,
    softmax_information_curve,
)
from captum_ext.metrics.information_protocol import (
    PRESETS as INFORMATION_PRESETS,
    InformationProtocol,
)
from captum_ext.metrics.insertion_deletion import (
    Deletion,
    Insertion,
    deletion,
    deletion_curve,
    insertion,
    insertion_curve,
)

__all__ = [
    "AIC",
    "INFORMATION_PRESETS",
    "SIC",
    "AccuracyInformationCurve",
    "CurveMetric",
    "Deletion",
    "ExampleMetric",
    "InformationProtocol",
    "Insertion",
    "SoftmaxInformationCurve",
    "accuracy_information_curve",
    "deletion",
    "deletion_curve",
    "information_metrics",
    "insertion",
    "insertion_curve",
    "softmax_information_curve",
]
