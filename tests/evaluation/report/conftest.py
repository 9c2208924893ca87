"""Charts are made, but saved empty: drawing them is most of a report's time."""

import pytest
from matplotlib.figure import Figure


@pytest.fixture(autouse=True, scope="module")
def empty_charts():
    real, empty = Figure.savefig, Figure(figsize=(1, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda _, to, **how: real(empty, to, **how))
        yield
