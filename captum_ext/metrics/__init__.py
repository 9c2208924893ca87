"""Metrics of attributions: torchmetrics classes, each with a pure function beside it."""

from captum_ext.metrics.base.compare import Comparison, PairedDifference, compare
from captum_ext.metrics.base.curve_metric import CurveMetric
from captum_ext.metrics.base.example import ExampleMetric
from captum_ext.metrics.base.means import ScalarMetric, TableMetric
from captum_ext.metrics.information.aic_sic import (
    AIC,
    SIC,
    AccuracyInformationCurve,
    SoftmaxInformationCurve,
)
from captum_ext.metrics.information.functions import (
    accuracy_information_curve,
    information_metrics,
    softmax_information_curve,
)
from captum_ext.metrics.information.protocol import (
    PRESETS as INFORMATION_PRESETS,
    InformationProtocol,
)
from captum_ext.metrics.localization import Localization, boxes_to_masks, localization
from captum_ext.metrics.perturbation.functions import (
    deletion,
    deletion_curve,
    insertion,
    insertion_curve,
)
from captum_ext.metrics.perturbation.insertion_deletion import Deletion, Insertion
from captum_ext.metrics.perturbation.road import ROAD, road
from captum_ext.metrics.perturbation.sensitivity_n import SensitivityN, sensitivity_n
from captum_ext.metrics.sanity.checks import ParameterRandomization
from captum_ext.metrics.sanity.data_randomization import DataRandomization
from captum_ext.metrics.sanity.impostors import impostors
from captum_ext.metrics.sanity.initializers import matched_normal
from captum_ext.metrics.sanity.permuted_labels import train_on_permuted_labels
from captum_ext.metrics.sanity.plot import plot_cascade
from captum_ext.metrics.sanity.similarity import register_similarity

__all__ = [
    "AIC",
    "INFORMATION_PRESETS",
    "ROAD",
    "SIC",
    "AccuracyInformationCurve",
    "Comparison",
    "CurveMetric",
    "DataRandomization",
    "Deletion",
    "ExampleMetric",
    "InformationProtocol",
    "Insertion",
    "Localization",
    "PairedDifference",
    "ParameterRandomization",
    "ScalarMetric",
    "SensitivityN",
    "SoftmaxInformationCurve",
    "TableMetric",
    "accuracy_information_curve",
    "boxes_to_masks",
    "compare",
    "deletion",
    "deletion_curve",
    "impostors",
    "information_metrics",
    "insertion",
    "insertion_curve",
    "localization",
    "matched_normal",
    "plot_cascade",
    "register_similarity",
    "road",
    "sensitivity_n",
    "softmax_information_curve",
    "train_on_permuted_labels",
]
