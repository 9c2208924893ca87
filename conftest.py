"""What every test and example starts from."""

import gc

import pytest
import torch

from captum_ext import registry


def pytest_collection_finish():
    """What was imported stays: to search it for garbage again and again takes time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.fixture(autouse=True)
def _names_as_they_were():
    """What one test registers, no other finds."""
    with registry.kept():
        yield


@pytest.fixture(autouse=True)
def _the_same_draws_in_every_run():
    """Draws of the global generator could meet a kink, or a tie, in one run of a thousand."""
    # `torch.manual_seed` also keeps a trace of the stack for each kind of device.
    torch.default_generator.manual_seed(0)
