"""The methods that the command and `evaluate` know by name; one line registers one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

from captum.attr import IntegratedGradients

from captum_ext._captum import Attribution
from captum_ext.attr.blur_ig import BlurIG
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
    taken = signature(method.attribute).parameters
    left_out = set() if method.has_convergence_delta() else {"n_steps"}
    return {
        key: value
        for key, value in options.items()
        if key in taken and key not in left_out and value is not None
    }
