"""What a step, a direction or a descent of your own is written with; `captum_ext.mask` is for use.

A step takes a `MaskState` and an `Objective` and gives a `StepResult`; a direction gives a
`MaskState` from a `MaskProblem` and a `Sample`; `descend` puts them together.
"""

from captum_ext.mask.descent import Descent, descend
from captum_ext.mask.direction import MaskState
from captum_ext.mask.line_search import PublishedBacktracking
from captum_ext.mask.problem import MaskProblem
from captum_ext.mask.random_masks import RandomMasks
from captum_ext.mask.regularizers import PublishedBilateralTV, PublishedL1
from captum_ext.mask.sample import Sample
from captum_ext.mask.step import Objective, StepResult, UpdateRule

__all__ = [
    "Descent",
    "MaskProblem",
    "MaskState",
    "Objective",
    "PublishedBacktracking",
    "PublishedBilateralTV",
    "PublishedL1",
    "RandomMasks",
    "Sample",
    "StepResult",
    "UpdateRule",
    "descend",
]
