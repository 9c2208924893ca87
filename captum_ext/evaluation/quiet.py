"""Captum's methods without their remarks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Hides Captum's remarks on gradients and hooks that it sets and removes itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Input Tensor .* did not already require gradients")
        warnings.filterwarnings("ignore", "Setting (forward, )?backward hooks")
        yield
