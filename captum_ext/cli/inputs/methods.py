"""``--methods``: names become methods that are made for the model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from captum_ext._captum import Attribution
from captum_ext._text import reason
from captum_ext.attr import Configured, MaskAttribution
from captum_ext.attr.configured import accepted, unwrapped
from captum_ext.cli.errors import CallError, WorkError, say
from captum_ext.cli.inputs.placement import placed, require_placed
from captum_ext.cli.options import Settings
from captum_ext.registry import METHODS


def made_for(model: nn.Module, settings: Settings) -> tuple[dict[str, Configured], dict[str, str]]:
    """The methods made for the model, and why others can't be, which is said.

    Raises:
        CallError: if none can be.
    """
    made: dict[str, Configured] = {}
    unsuited: dict[str, str] = {}
    for name in settings.method_names:
        try:
            made[name] = configured(name, model, settings)
        except Exception as error:
            unsuited[name] = reason(error)
    if not made:
        reasons = "; ".join(f"{name}: {why}" for name, why in unsuited.items())
        raise CallError(f"--methods: none suits the model ({reasons})")
    for name, why in unsuited.items():
        say(f"{name} is left out: {why}")
    require_placed(made, settings)
    return made, unsuited


def configured(name: str, model: nn.Module, settings: Settings) -> Configured:
    """A method of the model, with the options and the seed that it takes.

    Raises:
        ValueError, TypeError: if it can't be used with the model.
    """
    attribution = METHODS[name].make(model)
    if not isinstance(attribution, Attribution):
        raise TypeError(
            f"what is registered under its name makes a {type(attribution).__name__}, not a "
            "method of Captum's kind"
        )
    kept = accepted(attribution, {**settings.effort, "seed": settings.seed})
    attribution, options = unwrapped(attribution)
    attribution, kept = placed(attribution, kept, settings)
    kept |= options
    if isinstance(attribution, MaskAttribution):
        attribution.require_iteration(kept.get("n_steps"), kept.get("max_forwards"))
    return Configured(attribution, **kept)


def is_mask_method(method: Configured) -> bool:
    """Whether the method optimizes a mask, so that it has a history."""
    return isinstance(method.method, MaskAttribution)


def require_maps(problems: Mapping[str, str | None]) -> None:
    """Raises WorkError if every method failed.

    Args:
        problems: why each failed, None where it didn't.
    """
    if all(problems.values()):
        reasons: dict[str, list[str]] = {}
        for name, why in problems.items():
            reasons.setdefault(str(why), []).append(name)
        told = "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
        raise WorkError(f"no method gives a map ({told})")
