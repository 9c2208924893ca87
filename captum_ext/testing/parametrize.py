"""`parametrize_with_checks`: each check of each case as a test of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from captum_ext.testing.attribution import checks_of
from captum_ext.testing.case import AttributionCase
from captum_ext.testing.metric import MetricCase, metric_checks_of
from captum_ext.testing.report import FAILED, NOT_APPLICABLE, Check, ViolationError


def parametrize_with_checks(cases: Mapping[str, AttributionCase | MetricCase]) -> Any:
    """A decorator of pytest: one test for every case and check, as the argument ``check``.

    What is not applicable is skipped with its reason. pytest is imported here alone.

    >>> from captum.attr import Saliency
    >>> @parametrize_with_checks({"Saliency": AttributionCase(Saliency)})
    ... def test_contract(check):
    ...     check()
    >>> test_contract.pytestmark[0].kwargs["ids"][:2]
    ['Saliency-shape', 'Saliency-dtype']
    """
    import pytest

    pairs = [(name, case, check) for name, case in cases.items() for check in _checks(case)]
    return pytest.mark.parametrize(
        "check",
        [_bound(check, case) for _, case, check in pairs],
        ids=[f"{name}-{check.name}" for name, _, check in pairs],
    )


def _checks(case: AttributionCase | MetricCase) -> tuple[Check, ...]:
    return metric_checks_of(case) if isinstance(case, MetricCase) else checks_of(case)


def _bound(check: Check, case: AttributionCase | MetricCase) -> Callable[[], None]:
    def ask() -> None:
        import pytest

        found = check(case)
        if found.status == NOT_APPLICABLE:
            pytest.skip(found.detail)
        if found.status == FAILED:
            raise ViolationError(f"{found.check}: {found.rule} {found.detail}") from found.error

    return ask
