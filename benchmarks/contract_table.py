"""What `captum_ext.testing` finds in Captum's own methods: the table of docs/testing.md.

    python benchmarks/contract_table.py [--details]

The contract is asked of all, axioms too, whether a method's paper claims them or not. `--details`
prints the reports, with the numbers that show each failure.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from captum.attr import (
    LRP,
    DeepLift,
    GuidedBackprop,
    IntegratedGradients,
    Occlusion,
    Saliency,
)

from captum_ext.testing import AttributionCase, Report, check_attribution
from captum_ext.testing.axioms import AXIOMS


def window(inputs: Any) -> dict[str, Any]:
    """A window of single features for each tensor."""
    one = (1, 1, 1)
    shapes = (one,) * len(inputs) if isinstance(inputs, tuple) else one
    return {"sliding_window_shapes": shapes}


def signed(inputs: Any) -> dict[str, Any]:
    """The gradient with its sign."""
    return {"abs": False}


METHODS: dict[str, tuple[Any, Any]] = {
    "Saliency": (Saliency, signed),
    "IntegratedGradients": (IntegratedGradients, {}),
    "DeepLift": (DeepLift, {}),
    "Occlusion": (Occlusion, window),
    "LRP": (LRP, {}),
    "GuidedBackprop": (GuidedBackprop, {}),
}
# Small, since Occlusion asks the model once for each feature.
IMAGES = torch.rand(3, 3, 6, 5, generator=torch.Generator().manual_seed(1))
SIGNS = {"passed": "yes", "failed": "**no**", "not applicable": "n/a"}


def reports() -> dict[str, Report]:
    """What is found in each method."""
    claims = [check.name for check in AXIOMS]
    return {
        name: check_attribution(
            AttributionCase(make, IMAGES, options=options, claims=claims), raises=False
        )
        for name, (make, options) in METHODS.items()
    }


def table(found: dict[str, Report]) -> str:
    """Checks by methods, in Markdown."""
    lines = [f"| check | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
    for outcome in next(iter(found.values())).outcomes:
        cells = [SIGNS[report[outcome.check].status] for report in found.values()]
        lines.append(f"| `{outcome.check}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    found = reports()
    print(table(found))
    if "--details" in sys.argv:
        print("\n\n".join(map(str, found.values())))
