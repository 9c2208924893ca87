"""The rows of the contract test: one for every public attribution method."""

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from captum.attr import Attribution, IntegratedGradients

from captum_ext.attr import (
    IDGI,
    IGOS,
    RISE,
    AlignedContribution,
    BlurIG,
    GuidedIG,
    IGOSPlus,
    IGOSPlusPlus,
    MeaningfulPerturbation,
    PathAttribution,
)
from captum_ext.path import StraightLine, trapezoid


@dataclass(frozen=True)
class Row:
    """How to make a method, and with which arguments it runs quickly.

    `images_only` methods take nothing but (N, C, H, W), `own_start` methods ignore baselines,
    `no_gradient` methods need none;
    `gradient_only` methods need no value of the model, so that they can stand in for a layer
    method's ``ig``.
    """

    make: Callable[[Any], Attribution]
    options: dict[str, Any] = field(default_factory=dict)
    images_only: bool = False
    own_start: bool = False
    gradient_only: bool = False
    no_gradient: bool = False

    def attribute(self, forward_func: Any, *args: Any, **kwargs: Any) -> Any:
        return self.make(forward_func).attribute(*args, **{**self.options, **kwargs})

    def chunk(self, size: int) -> dict[str, int]:
        """The keyword that bounds a model call, as this method names it."""
        names = signature(self.make(lambda x: x).attribute).parameters
        key = "internal_batch_size" if "internal_batch_size" in names else "perturbations_per_eval"
        return {key: size}


# Weights of mask size and variation that let a small network's weak evidence through.
WEAK = (0.01, 0.01)
MASK = {"n_iter": 3, "n_steps": 4}
METHODS = {
    "PathAttribution": Row(
        lambda f: PathAttribution(f, StraightLine()), {"n_steps": 6}, gradient_only=True
    ),
    "PathAttribution-trapezoid": Row(
        lambda f: PathAttribution(f, StraightLine(), trapezoid), {"n_steps": 6}, gradient_only=True
    ),
    "GuidedIG": Row(lambda f: GuidedIG(f, 0.3, 0.2), {"n_steps": 6}, gradient_only=True),
    "BlurIG": Row(
        lambda f: BlurIG(f, 3.0),
        {"n_steps": 6},
        images_only=True,
        own_start=True,
        gradient_only=True,
    ),
    "IDGI-IG": Row(lambda f: IDGI(IntegratedGradients(f)), {"n_steps": 6}),
    "IDGI-GuidedIG": Row(lambda f: IDGI(GuidedIG(f, 0.3, 0.2)), {"n_steps": 6}),
    "Aligned-IG": Row(lambda f: AlignedContribution(IntegratedGradients(f)), {"n_steps": 6}),
    "IDGI-BlurIG": Row(
        lambda f: IDGI(BlurIG(f, 3.0)), {"n_steps": 6}, images_only=True, own_start=True
    ),
    "IGOS": Row(lambda f: IGOS(f, 6, *WEAK), MASK, images_only=True),
    "IGOSPlus": Row(lambda f: IGOSPlus(f, 6, *WEAK), MASK, images_only=True),
    "IGOSPlusPlus": Row(lambda f: IGOSPlusPlus(f, 6, *WEAK), MASK, images_only=True),
    "MeaningfulPerturbation": Row(
        lambda f: MeaningfulPerturbation(f, 6, *WEAK), {"n_iter": 4}, images_only=True
    ),
    "RISE": Row(lambda f: RISE(f, cells=4), {"n_masks": 20}, images_only=True, no_gradient=True),
}
