"""Optimized masks: an objective of terms and regularizers, a direction and a step."""

from typing import TYPE_CHECKING

from captum_ext._moved import found_elsewhere
from captum_ext.blur import blurred
from captum_ext.mask.direction import Direction, Gradient, IntegratedGradient
from captum_ext.mask.grid import FeatureGroups, Grid, MaskGrid
from captum_ext.mask.line_search import Backtracking
from captum_ext.mask.regularizers import L1, TV, BilateralTV, EdgeTV, Regularizer
from captum_ext.mask.sample import Noise
from captum_ext.mask.step import Step, adam, fixed, nesterov
from captum_ext.mask.terms import DeletionTerm, InsertionTerm, Term

__all__ = [
    "L1",
    "TV",
    "Backtracking",
    "BilateralTV",
    "DeletionTerm",
    "Direction",
    "EdgeTV",
    "FeatureGroups",
    "Gradient",
    "Grid",
    "InsertionTerm",
    "IntegratedGradient",
    "MaskGrid",
    "Noise",
    "Regularizer",
    "Step",
    "Term",
    "adam",
    "blurred",
    "fixed",
    "nesterov",
]

if not TYPE_CHECKING:  # a type checker would take every name for one that has moved
    __getattr__ = found_elsewhere(__name__)
