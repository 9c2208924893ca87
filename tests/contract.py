"""The rows of the contract test: one for every public attribution method, and what it claims."""

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from captum.attr import Attribution, IntegratedGradients, Occlusion, Saliency
from torch import Tensor, nn

from captum_ext.attr import (
    IDGI,
    IGOS,
    RISE,
    AlignedContribution,
    AtLayer,
    BlurIG,
    Configured,
    GradCam,
    GuidedIG,
    IGOSPlus,
    IGOSPlusPlus,
    MeaningfulPerturbation,
    OverBaselines,
    PathAttribution,
)
from captum_ext.attr.guided_backprop import GuidedBackprop, GuidedGradCam
from captum_ext.path import BlurPath, StraightLine, trapezoid
from captum_ext.testing import AttributionCase


@dataclass(frozen=True)
class Row:
    """How to make a method, and with which arguments it runs quickly.

    `claims` are axioms, `start` is where a path of its own begins.
    `images_only` methods take nothing but (N, C, H, W), `own_start` methods ignore baselines,
    `no_gradient` methods need none;
    `gradient_only` methods need no value of the model, so that they can stand in for a layer
    method's ``ig``.
    """

    make: Callable[[Any], Attribution]
    options: dict[str, Any] = field(default_factory=dict)
    claims: tuple[str, ...] = ("determinism",)
    start: Callable[[Tensor], Tensor] | None = None
    images_only: bool = False
    own_start: bool = False
    gradient_only: bool = False
    no_gradient: bool = False

    @property
    def case(self) -> AttributionCase:
        """The same for the public checks."""
        return AttributionCase(
            self.make, options=self.options, claims=self.claims, start=self.start
        )

    def attribute(self, forward_func: Any, *args: Any, **kwargs: Any) -> Any:
        return self.make(forward_func).attribute(*args, **{**self.options, **kwargs})

    def chunk(self, size: int) -> dict[str, int]:
        """The keyword that bounds a model call, as this method names it."""
        names = signature(self.make(lambda x: x).attribute).parameters
        key = "internal_batch_size" if "internal_batch_size" in names else "perturbations_per_eval"
        return {key: size}


FUNCTION = ("implementation_invariance", "determinism")
UNUSED = (*FUNCTION, "sensitivity_b", "unused_feature")
GRADIENT = (*UNUSED, "symmetry", "input_shift")
STRAIGHT = (*GRADIENT, "completeness", "sensitivity_a", "unit_invariance")
# Any path's values and gradients are in a feature's unit, but not what Guided IG chooses by, and
# the square by which IDGI shares.
GUIDED = tuple({*STRAIGHT} - {"unit_invariance", "completeness"})
IMPORTANT = tuple({*STRAIGHT} - {"unit_invariance"})


def blurred(images: Tensor) -> Tensor:
    return BlurPath(3.0).point(images, images, 0.0)


BLUR = {"images_only": True, "own_start": True, "start": blurred}
# Weights of mask size and variation that let a small network's weak evidence through.
WEAK = (0.01, 0.01)
MASK = {"n_iter": 2, "n_steps": 2}
METHODS = {
    "PathAttribution": Row(
        lambda f: PathAttribution(f, StraightLine()),
        {"n_steps": 50},
        STRAIGHT,
        gradient_only=True,
    ),
    "PathAttribution-trapezoid": Row(
        lambda f: PathAttribution(f, StraightLine(), trapezoid),
        {"n_steps": 50},
        STRAIGHT,
        gradient_only=True,
    ),
    "GuidedIG": Row(lambda f: GuidedIG(f, 0.3, 0.2), {"n_steps": 6}, GUIDED, gradient_only=True),
    "BlurIG": Row(
        lambda f: BlurIG(f, 3.0),
        {"n_steps": 40},
        (*UNUSED, "completeness"),
        gradient_only=True,
        **BLUR,
    ),
    "IDGI-IG": Row(lambda f: IDGI(IntegratedGradients(f)), {"n_steps": 6}, IMPORTANT),
    "IDGI-GuidedIG": Row(lambda f: IDGI(GuidedIG(f, 0.3, 0.2)), {"n_steps": 6}, IMPORTANT),
    "Aligned-IG": Row(
        lambda f: AlignedContribution(IntegratedGradients(f)),
        {"n_steps": 6},
        (*IMPORTANT, "unit_invariance"),
    ),
    "IDGI-BlurIG": Row(
        lambda f: IDGI(BlurIG(f, 3.0)), {"n_steps": 6}, (*UNUSED, "completeness"), **BLUR
    ),
    "IGOS": Row(lambda f: IGOS(f, 6, *WEAK), MASK, FUNCTION, images_only=True),
    "IGOSPlus": Row(lambda f: IGOSPlus(f, 6, *WEAK), MASK, FUNCTION, images_only=True),
    "IGOSPlusPlus": Row(lambda f: IGOSPlusPlus(f, 6, *WEAK), MASK, FUNCTION, images_only=True),
    "MeaningfulPerturbation": Row(
        lambda f: MeaningfulPerturbation(f, 6, *WEAK), {"n_iter": 4}, FUNCTION, images_only=True
    ),
    "RISE": Row(
        lambda f: RISE(f, cells=4), {"n_masks": 20}, FUNCTION, images_only=True, no_gradient=True
    ),
}


class Fronted(nn.Module):
    """A model behind a layer that gives what it is given."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.front, self.net = nn.Identity(), net
        self.training = getattr(net, "training", False)

    def forward(self, x: Tensor, *more: Any) -> Any:
        return self.net(self.front(x), *more)


def at_the_front(f: Any) -> Attribution:
    fronted = Fronted(f)
    return AtLayer(IDGI(IntegratedGradients(fronted)), fronted.front)


def window(images: Tensor) -> tuple[int, ...]:
    return (3, 5, 4)


# Those that need a module, or are another method with its arguments.
CASES = {name: row.case for name, row in METHODS.items()} | {
    "GradCam": AttributionCase(GradCam, claims=["determinism"]),
    "GuidedBackprop": AttributionCase(GuidedBackprop, claims=["determinism"]),
    "GuidedGradCam": AttributionCase(GuidedGradCam, claims=["determinism"]),
    "AtLayer-IDGI": AttributionCase(
        at_the_front,
        options={"n_steps": 6},
        claims=IMPORTANT,
        exempt={
            "one_tuple": "a layer's map has the layer's form",
            "several_inputs": "a layer behind one of them has one map",
        },
    ),
    "OverBaselines-IDGI": AttributionCase(
        lambda f: OverBaselines(IDGI(IntegratedGradients(f)), shared=False),
        options={"n_steps": 6},
        claims=IMPORTANT,
    ),
    "Configured-IG": AttributionCase(
        lambda f: Configured(IntegratedGradients(f), n_steps=20), claims=STRAIGHT
    ),
    "Configured-Saliency": AttributionCase(
        lambda f: Configured(Saliency(f), abs=False), claims=GRADIENT
    ),
    "Configured-Occlusion": AttributionCase(
        lambda f: Configured(Occlusion(f), sliding_window_shapes=window, strides=window),
        claims=(*FUNCTION, "sensitivity_a", "input_shift", "unit_invariance"),
    ),
}
