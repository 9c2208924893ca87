"""Methods x metrics over a data set: what maps cost and what they are worth."""

from typing import TYPE_CHECKING

from captum_ext._moved import found_elsewhere
from captum_ext.evaluation.catalog import Reading, register_metric, register_preset
from captum_ext.evaluation.report import write_report
from captum_ext.evaluation.result import Evaluation
from captum_ext.evaluation.run import evaluate
from captum_ext.metrics.base.compare import Difference

__all__ = [
    "Difference",
    "Evaluation",
    "Reading",
    "evaluate",
    "register_metric",
    "register_preset",
    "write_report",
]

if not TYPE_CHECKING:  # a type checker would take every name for one that has moved
    __getattr__ = found_elsewhere(__name__)
