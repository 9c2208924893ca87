"""`check_attribution`: the contract and the axioms, asked of one method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from captum_ext._captum import Attribution
from captum_ext.testing.axioms import AXIOMS
from captum_ext.testing.case import AttributionCase
from captum_ext.testing.contract import CONTRACT
from captum_ext.testing.report import Check, Report, ask_all, require_known

ATTRIBUTION = (*CONTRACT, *AXIOMS)


def check_attribution(
    make_method: AttributionCase | Callable[[Any], Attribution],
    *,
    raises: bool = True,
    **settings: Any,
) -> Report:
    """Asks a method whether it keeps the contract of Captum's methods, and the axioms it claims.

    Args:
        make_method: from a model to the method, as its class does; or an `AttributionCase`.
        raises: whether a check that fails raises, after all were asked.
        settings: of the `AttributionCase`: inputs, model, options of ``attribute``, claims.

    Returns:
        What each check found: passed, failed, or not applicable with the reason.

    Raises:
        ContractError: with ``raises``, if checks fail; its message shows all of them.

    >>> from captum_ext.attr import RISE
    >>> report = check_attribution(RISE, options={"n_masks": 20})
    >>> report.failed, report["completeness"].status, report["completeness"].detail
    ((), 'not applicable', 'not claimed')
    """
    case = make_method
    if not isinstance(case, AttributionCase):
        case = AttributionCase(case, **settings)
    elif settings:
        raise TypeError(f"`settings` are within the case, but got {sorted(settings)} beside it.")
    return ask_all(case.name, checks_of(case), case, raises)


def checks_of(case: AttributionCase) -> tuple[Check, ...]:
    """The checks of a case.

    Raises:
        ValueError: if it names one that is none.
    """
    require_known("claims", case.claims, AXIOMS)
    require_known("exempt", case.exempt, ATTRIBUTION)
    return ATTRIBUTION
