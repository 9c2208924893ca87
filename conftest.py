"""What every test and example starts from."""

import pytest
import torch

from captum_ext import registry


@pytest.fixture(autouse=True)
def _names_as_they_were():
    """What one test registers, no other finds."""
    with registry.kept():
        yield


@pytest.fixture(autouse=True)
def _the_same_draws_in_every_run():
    """Draws of the global generator could meet a kink, or a tie, in one run of a thousand."""
    torch.manual_seed(0)
