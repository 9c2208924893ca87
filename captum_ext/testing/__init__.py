"""The contract of methods and metrics, for those of users' own."""

from captum_ext.testing.attribution import check_attribution
from captum_ext.testing.case import AttributionCase
from captum_ext.testing.metric import MetricCase, check_metric
from captum_ext.testing.parametrize import parametrize_with_checks
from captum_ext.testing.report import Check, ContractError, Outcome, Report

__all__ = [
    "AttributionCase",
    "Check",
    "ContractError",
    "MetricCase",
    "Outcome",
    "Report",
    "check_attribution",
    "check_metric",
    "parametrize_with_checks",
]
