"""What every test and example starts from."""

import pytest

from captum_ext import registry


@pytest.fixture(autouse=True)
def _names_as_they_were():
    """What one test registers, no other finds."""
    with registry.kept():
        yield
