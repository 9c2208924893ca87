"""What comes back, and what is refused before anything is asked."""

import ast
from pathlib import Path

import pytest
from captum.attr import IntegratedGradients, Saliency

import captum_ext.testing
from captum_ext.attr import IDGI
from captum_ext.testing import ContractError, check_attribution

IMPORTS = (ast.Import, ast.ImportFrom)


def test_all_failures_are_raised_together_with_rule_and_numbers():
    with pytest.raises(ContractError) as raised:
        check_attribution(Saliency, claims=["sensitivity_a"])
    report = raised.value.report
    assert {"wrong_target", "nan_input", "sensitivity_a"} <= {*report.failed}
    for name in report.failed:
        assert report[name].rule in str(raised.value)
        assert report[name].detail in str(raised.value)


def test_what_is_not_asked_says_why():
    report = check_attribution(
        lambda f: IDGI(IntegratedGradients(f)), exempt={"chunk": "has its own test"}
    )
    assert report["chunk"].detail == "exempt: has its own test"
    assert report["unit_invariance"].detail == "not claimed"
    assert len(report.passed) + len(report.not_applicable) == len(report.outcomes)


def test_a_method_that_claims_too_much_is_shown_the_smallest_case():
    """In f = w x IDGI's share is w^2 over the sum of squares, whatever the unit of x."""
    found = check_attribution(
        lambda f: IDGI(IntegratedGradients(f)), claims=["unit_invariance"], raises=False
    )["unit_invariance"]
    assert found.detail.endswith("2.4 of 2 x + y at x = y = 1")


@pytest.mark.parametrize(
    ("make", "settings", "error", "words"),
    [
        (Saliency(len), {}, TypeError, "`make_method` makes a method from a model"),
        (Saliency, {"claims": ["truth"]}, ValueError, r"`claims` are among.*\['truth'\]"),
        (Saliency, {"exempt": {"all": ""}}, ValueError, r"`exempt` are among.*\['all'\]"),
    ],
)
def test_what_can_not_be_asked_is_refused(make, settings, error, words):
    with pytest.raises(error, match=words):
        check_attribution(make, **settings)


def test_it_needs_no_pytest():
    for file in Path(captum_ext.testing.__file__).parent.glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            assert "pytest" not in (ast.unparse(node) if isinstance(node, IMPORTS) else "")
