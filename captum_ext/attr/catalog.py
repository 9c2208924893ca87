"""The methods that the command and `evaluate` know by name; one line registers one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

from captum.attr import (
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from torch import Tensor

from captum_ext._captum import Attribution
from captum_ext.attr.blur_ig import BlurIG
from captum_ext.attr.configured import Configured
from captum_ext.attr.grad_cam import GradCam
from captum_ext.attr.guided_backprop import GuidedGradCam
from captum_ext.attr.guided_ig import GuidedIG
from captum_ext.attr.idgi import IDGI
from captum_ext.attr.igos import IGOS, IGOSPlus, IGOSPlusPlus
from captum_ext.attr.meaningful_perturbation import MeaningfulPerturbation
from captum_ext.attr.rise import RISE


@dataclass(frozen=True)
class Method:
    """A named method: how it is made from a model, and how its pictures are labeled."""

    label: str
    make: Callable[[Any], Attribution]


METHODS: dict[str, Method] = {}


def register(name: str, label: str, make: Callable[[Any], Attribution]) -> None:
    """Gives a method a name that the command and `evaluate` understand.

    Args:
        name: in lower case, as typed.
        label: as shown in tables and pictures.
        make: from the model to the attribution method.

    >>> register("my-ig", "My IG", IntegratedGradients)
    >>> METHODS.pop("my-ig").label
    'My IG'
    """
    METHODS[name] = Method(label, make)


def _window(inputs: Tensor) -> tuple[int, ...]:
    """All channels of a square, a seventh of the sides and so 32 x 32 at 224 x 224."""
    return (inputs.shape[1], *(max(1, side // 7) for side in inputs.shape[2:]))


def _stride(inputs: Tensor) -> tuple[int, ...]:
    return (inputs.shape[1], *(max(1, side // 14) for side in inputs.shape[2:]))


def _noise(inputs: Tensor) -> float:
    """SmoothGrad's 15 % of the range of values (Smilkov et al., arXiv:1706.03825)."""
    return 0.15 * float(inputs.max() - inputs.min())


# Captum's default is the absolute value; columns of absolute values take it by themselves.
register("saliency", "Gradient", lambda f: Configured(Saliency(f), abs=False))
register("input-x-gradient", "Input x gradient", InputXGradient)
register(
    "smoothgrad",
    "SmoothGrad",
    lambda f: Configured(NoiseTunnel(Saliency(f)), nt_samples=50, nt_samples_batch_size=10,
                         stdevs=_noise, abs=False),
)  # fmt: skip
register(
    "gradient-shap",
    "GradientShap (black)",
    lambda f: Configured(GradientShap(f), n_samples=20, baselines=lambda x: x[:1] * 0),
)
register(
    "occlusion",
    "Occlusion",
    lambda f: Configured(Occlusion(f), sliding_window_shapes=_window, strides=_stride),
)
register("grad-cam", "Grad-CAM", GradCam)
register("guided-grad-cam", "Guided Grad-CAM", GuidedGradCam)
register("ig", "IG", IntegratedGradients)
register("guided-ig", "Guided IG", GuidedIG)
register("blur-ig", "Blur IG", BlurIG)
register("idgi-ig", "IDGI (IG)", lambda f: IDGI(IntegratedGradients(f)))
register("idgi-guided-ig", "IDGI (Guided IG)", lambda f: IDGI(GuidedIG(f)))
register("idgi-blur-ig", "IDGI (Blur IG)", lambda f: IDGI(BlurIG(f)))
register("igos", "I-GOS", IGOS)
register("igos+", "iGOS+", IGOSPlus)
register("igos++", "iGOS++", IGOSPlusPlus)
register("mask", "Mask", MeaningfulPerturbation)
register("rise", "RISE", RISE)


def lookup(names: list[str]) -> dict[str, Method]:
    """The registered methods of these names, in order.

    Raises:
        ValueError: for a name that is not registered.

    >>> [method.label for method in lookup(["ig", "idgi-ig"]).values()]
    ['IG', 'IDGI (IG)']
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise ValueError(f"`methods` are among {', '.join(METHODS)}, but got {unknown or names}.")
    return {name: METHODS[name] for name in names}


def accepted(method: Attribution, options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that are set and that the method's ``attribute`` takes.

    ``n_steps`` is for methods that integrate along a path, those with a convergence delta: an
    optimized mask counts other steps under this name.

    >>> accepted(IntegratedGradients(len), {"n_steps": 5, "n_masks": 9, "seed": None})
    {'n_steps': 5}
    """
    chosen = method.options if isinstance(method, Configured) else {}
    inner = method.method if isinstance(method, Configured) else method
    taken = signature(inner.attribute).parameters
    # A mask method's n_steps is not a path's.
    left_out = {*chosen, *(() if inner.has_convergence_delta() else ("n_steps",))}
    return {
        key: value
        for key, value in options.items()
        if key in taken and key not in left_out and value is not None
    }
