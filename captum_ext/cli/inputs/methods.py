"""``--methods``: names become methods that are made for the model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from captum_ext._captum import Attribution
from captum_ext._text import reason
from captum_ext.attr import Configured, MaskAttribution
from captum_ext.attr.configured import accepted, unwrapped
from captum_ext.cli.errors import CallError, WorkError, say
from captum_ext.cli.inputs.placement import placed, require_placed
from captum_ext.cli.inputs.python_files import factory_in, module_of
from captum_ext.cli.inputs.words import library_of
from captum_ext.cli.options import Settings
from captum_ext.registry import METHODS, Method, is_impostor


def made_for(model: nn.Module, settings: Settings) -> tuple[dict[str, Configured], dict[str, str]]:
    """The methods made for the model, and why others can't be, which is said.

    Raises:
        CallError: if none can be, or a file of ``--methods`` does not have its factory.
    """
    _register_own(settings)
    made: dict[str, Configured] = {}
    unsuited: dict[str, str] = {}
    for name in settings.method_names:
        try:
            made[name] = configured(name, model, settings)
        except Exception as error:
            unsuited[name] = reason(error)
    if all(is_impostor(name) for name in made) and unsuited:
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
        own = name in settings.own_methods
        raise TypeError(
            f"{'its factory' if own else 'what is registered under its name'} makes a "
            f"{type(attribution).__name__}, not a method of Captum's kind (captum.attr.Attribution)"
        )
    kept = accepted(attribution, {**settings.effort, "seed": settings.seed})
    attribution, options = unwrapped(attribution)
    attribution, kept = placed(attribution, kept, settings)
    kept |= options
    if isinstance(attribution, MaskAttribution):
        attribution.require_iteration(kept.get("n_steps"), kept.get("max_forwards"))
    return Configured(attribution, **kept)


def _register_own(settings: Settings) -> None:
    """Gives the methods of users' files their names, for the run."""
    library, _ = library_of(settings.model)
    model = None if library else Path(settings.model.rpartition(":")[0])
    modules: dict[Path, ModuleType] = {}
    labels = {METHODS[name].label for name in METHODS}
    for name, (file, factory) in settings.own_methods.items():
        place = file.resolve()
        if model is not None and model.resolve() == place:
            # Run once: what it registers twice would be refused.
            modules.setdefault(place, sys.modules[f"_captum_ext_model_{model.stem}"])
        if place not in modules:
            modules[place] = module_of("--methods", file)
        found = factory_in("--methods", file, modules[place], factory)
        label = name if factory in labels else factory
        labels.add(label)
        METHODS.add(name, Method(label, _Own(found)), overwrite=True)


@dataclass(frozen=True)
class _Own:
    """A user's factory, whose failure is said to be its own."""

    factory: Callable[[nn.Module], Any]

    def __call__(self, model: nn.Module) -> Any:
        try:
            return self.factory(model)
        except Exception as error:
            raise ValueError(f"its factory fails with {reason(error, named=True)}") from error


def is_mask_method(method: Configured) -> bool:
    """Whether the method optimizes a mask, so that it has a history."""
    return isinstance(method.method, MaskAttribution)


def require_maps(problems: Mapping[str, str | None]) -> None:
    """Raises WorkError if every method failed, whatever impostors gave.

    Args:
        problems: why each failed, None where it didn't.
    """
    problems = {n: why for n, why in problems.items() if not is_impostor(n)} or problems
    if all(problems.values()):
        reasons: dict[str, list[str]] = {}
        for name, why in problems.items():
            reasons.setdefault(str(why), []).append(name)
        told = "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
        raise WorkError(f"no method gives a map ({told})")
