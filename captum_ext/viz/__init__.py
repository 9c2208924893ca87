"""Pictures of maps."""

from typing import TYPE_CHECKING

from captum_ext._moved import found_elsewhere
from captum_ext.viz.overlays import heat, overlay

__all__ = ["heat", "overlay"]

if not TYPE_CHECKING:  # a type checker would take every name for one that has moved
    __getattr__ = found_elsewhere(__name__)
