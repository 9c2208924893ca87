"""The contract of attribution methods, for those of users' own: `check_attribution`."""

from captum_ext.testing.attribution import check_attribution
from captum_ext.testing.case import AttributionCase
from captum_ext.testing.parametrize import parametrize_with_checks
from captum_ext.testing.report import Check, ContractError, Outcome, Report

__all__ = [
    "AttributionCase",
    "Check",
    "ContractError",
    "Outcome",
    "Report",
    "check_attribution",
    "parametrize_with_checks",
]
