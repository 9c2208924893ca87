"""Methods x metrics over a data set: what maps cost and what they are worth."""

from captum_ext.evaluation.catalog import Reading, register_metric, register_preset
from captum_ext.evaluation.cost import Cost, Counted, measured
from captum_ext.evaluation.result import Evaluation
from captum_ext.evaluation.run import evaluate
from captum_ext.evaluation.significance import Difference

__all__ = [
    "Cost",
    "Counted",
    "Difference",
    "Evaluation",
    "Reading",
    "evaluate",
    "measured",
    "register_metric",
    "register_preset",
]
