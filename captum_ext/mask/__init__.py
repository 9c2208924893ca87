"""Optimized masks: an objective of terms and regularizers, a direction and a step."""

from captum_ext.blur import blurred
from captum_ext.mask.descent import Descent, descend
from captum_ext.mask.direction import Direction, Gradient, Here, IntegratedGradient
from captum_ext.mask.grid import FeatureGroups, Grid, MaskGrid
from captum_ext.mask.line_search import Backtracking, PublishedBacktracking
from captum_ext.mask.problem import MaskProblem
from captum_ext.mask.random_masks import RandomMasks
from captum_ext.mask.regularizers import (
    L1,
    TV,
    BilateralTV,
    EdgeTV,
    PublishedBilateralTV,
    PublishedL1,
    Regularizer,
)
from captum_ext.mask.sample import Noise, Sample
from captum_ext.mask.step import Evaluate, Move, Rule, Step, adam, fixed, nesterov
from captum_ext.mask.terms import Deletion, Insertion, Term

__all__ = [
    "L1",
    "TV",
    "Backtracking",
    "BilateralTV",
    "Deletion",
    "Descent",
    "Direction",
    "EdgeTV",
    "Evaluate",
    "FeatureGroups",
    "Gradient",
    "Grid",
    "Here",
    "Insertion",
    "IntegratedGradient",
    "MaskGrid",
    "MaskProblem",
    "Move",
    "Noise",
    "PublishedBacktracking",
    "PublishedBilateralTV",
    "PublishedL1",
    "RandomMasks",
    "Regularizer",
    "Rule",
    "Sample",
    "Step",
    "Term",
    "adam",
    "blurred",
    "descend",
    "fixed",
    "nesterov",
]
