"""Paths from a baseline to an input, and the rules that share out credit along them."""

from captum_ext.path.base import FixedPath, Knot, Path, StraightLine, integrate
from captum_ext.path.blur import BlurPath, gaussian_blur
from captum_ext.path.guided import GuidedPath
from captum_ext.path.placement import EqualRise, Placement, even
from captum_ext.path.rules import (
    aligned_contribution,
    important_direction,
    riemann,
    trapezoid,
    two_sided_direction,
)

__all__ = [
    "BlurPath",
    "EqualRise",
    "FixedPath",
    "GuidedPath",
    "Knot",
    "Path",
    "Placement",
    "StraightLine",
    "aligned_contribution",
    "even",
    "gaussian_blur",
    "important_direction",
    "integrate",
    "riemann",
    "trapezoid",
    "two_sided_direction",
]
