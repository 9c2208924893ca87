"""Public names that have moved: still found at their old place, with a warning that names the new.

A folder of the table says ``__getattr__ = found_elsewhere(__name__)`` (PEP 562). What is listed
nowhere else stays out of ``__all__`` and ``dir()``, so that a star import warns of nothing.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

MOVED = {
    "captum_ext.curve": {
        "BlurredBase": "captum_ext.curve.Blurred",
        "Codec": "captum_ext.curve.codec.Codec",
        "CompressedSize": "captum_ext.curve.codec.CompressedSize",
        "InterpolatedBase": "captum_ext.curve.Interpolated",
        "MultiScaleSimilarity": "captum_ext.curve.ms_ssim.MultiScaleSimilarity",
        "even_counts": "captum_ext.curve.frames.even_counts",
        "probability_and_correctness": "captum_ext.curve.response.probability_and_correctness",
        "read": "captum_ext.curve.frames.read",
    },
    "captum_ext.evaluation": {
        "Cost": "captum_ext.evaluation.cost.Cost",
        "Counted": "captum_ext.evaluation.cost.Counted",
        "measured": "captum_ext.evaluation.cost.measured",
    },
    "captum_ext.viz": {
        "Cascade": "captum_ext.viz.cascade.Cascade",
        "Explained": "captum_ext.viz.maps.Explained",
        "cascade_figure": "captum_ext.viz.cascade.cascade_figure",
        "draw_curves": "captum_ext.viz.maps.draw_curves",
        "explanation_figure": "captum_ext.viz.maps.explanation_figure",
        "history_figure": "captum_ext.viz.maps.history_figure",
    },
    "captum_ext.mask": {
        "Deletion": "captum_ext.mask.DeletionTerm",
        "Descent": "captum_ext.mask.advanced.Descent",
        "Evaluate": "captum_ext.mask.advanced.Objective",
        "Here": "captum_ext.mask.advanced.MaskState",
        "Insertion": "captum_ext.mask.InsertionTerm",
        "MaskProblem": "captum_ext.mask.advanced.MaskProblem",
        "Move": "captum_ext.mask.advanced.StepResult",
        "PublishedBacktracking": "captum_ext.mask.advanced.PublishedBacktracking",
        "PublishedBilateralTV": "captum_ext.mask.advanced.PublishedBilateralTV",
        "PublishedL1": "captum_ext.mask.advanced.PublishedL1",
        "RandomMasks": "captum_ext.mask.advanced.RandomMasks",
        "Rule": "captum_ext.mask.advanced.UpdateRule",
        "Sample": "captum_ext.mask.advanced.Sample",
        "descend": "captum_ext.mask.advanced.descend",
    },
}
"""By folder: the old name, and where the object is now."""


def called_elsewhere(old: str, new: str) -> Callable[..., Any]:
    """A method that has become a function: warns, and calls it with its object first."""

    def call(self: Any, *args: Any, **options: Any) -> Any:
        warnings.warn(
            f"{old} is now {new}; the old name will go with version 1.0.",
            DeprecationWarning,
            stacklevel=2,
        )
        place, _, name = new.rpartition(".")
        return getattr(importlib.import_module(place), name)(self, *args, **options)

    call.__doc__ = f"Now `{new}`."
    return call


def found_elsewhere(module: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module some of whose names have moved."""

    def find(name: str) -> Any:
        if name not in MOVED[module]:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new = MOVED[module][name]
        warnings.warn(
            f"{module}.{name} is now {new}; the old name will go with version 1.0.",
            DeprecationWarning,
            stacklevel=2,
        )
        place, _, new_name = new.rpartition(".")
        return getattr(importlib.import_module(place), new_name)

    return find
