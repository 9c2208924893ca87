"""What a method gave of one image: its map, scores and cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from captum_ext.cli.options import PROBABILITY, SCORE
from captum_ext.curve import Curve
from captum_ext.evaluation.catalog import READINGS
from captum_ext.evaluation.cost import Cost
from captum_ext.mask.advanced import Descent

RESTORED, LOST = 0.9, 0.5
"""Shares of the image's score that an insertion must bring back, and a deletion leave."""
CURVES = {"insertion": True, "deletion": False}
"""Whether features come or go."""
_REACHED = [
    ("area_to_restore", "insertion", -1, RESTORED),
    ("area_to_lose", "deletion", 0, LOST),
]
SCORES = tuple(f"{name}{suffix}" for suffix in READINGS for name in CURVES)
"""What is read of every map, by the names of the table."""


@dataclass
class Result:
    """What a method gave: a map of the image, its scores and its cost, as far as it came.

    Args:
        label: how the method is shown.
        attributions: the map, (1, C, H, W); None if it failed.
        curves: by the names of ``SCORES``; empty if they can't be read.
        cost: of the map.
        shared_with: the names of methods that the walk, and so its cost, was for too.
        descent: how its mask was optimized, if it has one.
        problem: why something of it is missing.
        answers: what the model's numbers are.
    """

    label: str
    attributions: Tensor | None = None
    curves: dict[str, Curve] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    shared_with: tuple[str, ...] = ()
    descent: Descent | None = None
    problem: str | None = None
    answers: str = PROBABILITY

    def reach(self) -> dict[str, float | None]:
        """The share of pixels that restores 90 % of the score, and that halves it.

        By the readings of a map; None where the curve never gets there or there is none, and of
        scores that are no probabilities: a share of them says nothing where 0 is not "none".
        """
        found = {}
        for suffix in READINGS:
            for name, curve, original, level in _REACHED:
                whole = self.curves.get(f"{curve}{suffix}")
                if whole is None or self.answers == SCORE:
                    x = float("nan")
                else:
                    x = float(whole.relative(original).reaches(level, falling=original == 0))
                found[f"{name}{suffix}"] = x if x == x else None
        return found

    def record(self, name: str) -> dict[str, Any]:
        """A row of the table."""
        areas = {key: round(float(curve.area()), 6) for key, curve in self.curves.items()}
        return {
            "method": name,
            **{key: areas.get(key) for key in SCORES},
            **{key: None if x is None else round(x, 6) for key, x in self.reach().items()},
            "seconds": round(self.cost.seconds, 3),
            "forwards": round(self.cost.forwards, 3),
            "gradients": round(self.cost.gradients, 3),
            "shared_with": [*self.shared_with],
            "reason": self.problem,
        }
