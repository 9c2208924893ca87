"""Every check of methods can fail, and fails for its own reason."""

import re

import pytest
import torch

from captum_ext.testing import AttributionCase, check_attribution
from captum_ext.testing.attribution import ATTRIBUTION
from captum_ext.testing.axioms import AXIOMS
from tests.testing.mutants import MUTANTS, Sound

IMAGES = torch.rand(3, 3, 6, 5, generator=torch.Generator().manual_seed(1))
CLAIMS = [check.name for check in AXIOMS]


def report_of(make):
    return check_attribution(make, inputs=IMAGES, claims=CLAIMS, raises=False)


def test_a_sound_method_passes_all():
    report = report_of(Sound)
    assert report.passed == tuple(check.name for check in ATTRIBUTION), str(report)


def test_every_check_has_a_mutant():
    assert {*MUTANTS} == {check.name for check in ATTRIBUTION}


@pytest.mark.parametrize("check", MUTANTS)
def test_a_mutant_fails_its_check_for_the_right_reason(check):
    mutant = MUTANTS[check]
    if mutant.also is None:
        (own,) = (one for one in ATTRIBUTION if one.name == check)
        found = own(AttributionCase(mutant.make, inputs=IMAGES, claims=CLAIMS))
    else:
        report = report_of(mutant.make)
        assert {*report.failed} == {check, *mutant.also}, str(report)
        found = report[check]
    assert found.status == "failed"
    assert re.search(mutant.words, found.detail), found.detail
