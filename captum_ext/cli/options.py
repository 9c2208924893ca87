"""The options that commands share, and their defaults."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from captum_ext._captum import Attribution
from captum_ext._text import reason
from captum_ext.attr import Configured, MaskAttribution
from captum_ext.attr.catalog import accepted, lookup
from captum_ext.cli.errors import CallError, WorkError, as_call_error, say
from captum_ext.cli.inputs.labels import Classes
from captum_ext.cli.inputs.models import DEFAULT_MODEL, name_of
from captum_ext.registry import METHODS, Method


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of the model and where it runs, the same in every command."""
    command.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help=f"{DEFAULT_MODEL} (default), torchvision:NAME, or "
        "path/to/file.py:factory, a function that returns an ImageClassifier",
    )
    command.add_argument(
        "--weights",
        metavar="FILE",
        help="a state dict (.pth or .safetensors); for torchvision also a name of weights, or "
        "`random`, the same in every run",
    )
    command.add_argument("--device", help="cpu, cuda, mps (default: the best there is)")
    command.add_argument(
        "--batch-size", type=int, help="images per model call (default: what suits the device)"
    )


# More can't be meant: a path of so many steps alone takes days.
_MOST = {
    "steps": 10**6, "n_masks": 10**7, "n_iter": 10**6, "batch_size": 10**6, "group": 10**6,
    "max_forwards": 10**12, "limit": 10**12,
}  # fmt: skip
# What every generator of random numbers takes.
_LARGEST_SEED = 2**63 - 1


def add_effort_options(command: argparse.ArgumentParser, steps: int, n_masks: int) -> None:
    """Adds how many steps, masks, iterations and model evaluations methods take."""
    add = command.add_argument
    add("--steps", type=int, default=steps, help=f"steps of path methods (default {steps})")
    add("--n-masks", type=int, default=n_masks,
        help=f"masks of RISE, 4000 in the paper (default {n_masks})")  # fmt: skip
    add("--n-iter", type=int, help="iterations of mask methods (default: each method's own)")
    add("--max-forwards", type=int, help="model evaluations a mask method may use per image")


def effort_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The effort that was asked for, by the names that methods give it."""
    return {
        "n_steps": arguments.steps,
        "n_masks": arguments.n_masks,
        "n_iter": arguments.n_iter,
        "max_forwards": arguments.max_forwards,
    }


def check_numbers(arguments: argparse.Namespace) -> None:
    """Raises CallError for a count or a seed that nobody can mean."""
    for option, most in _MOST.items():
        value = getattr(arguments, option, None)
        name = f"--{option.replace('_', '-')}"
        if value is not None and value < 1:
            raise CallError(f"{name} is at least 1, but got {value}.")
        if value is not None and value > most:
            raise CallError(f"{name} is at most {most}, but got {_short(value)}.")
    if not 0 <= arguments.seed <= _LARGEST_SEED:
        raise CallError(f"--seed is from 0 to {_LARGEST_SEED}, but got {_short(arguments.seed)}.")


def _short(number: int) -> str:
    return str(number) if abs(number) < 10**20 else "a number of more than 20 digits"


def names_in(option: str, text: str) -> list[str]:
    """The words of a list separated by commas.

    Raises:
        CallError: if there is none, or one of them twice.

    >>> names_in("--methods", "ig, rise")
    ['ig', 'rise']
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise CallError(f"{option} is a list separated by commas, but names nothing.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CallError(f"{option} names {twice!r} twice.")
    return names


def inputs_of(arguments: argparse.Namespace) -> list[Path]:
    """Every file and folder that a command is told to read."""
    named = ("image", "images", "labels", "annotations", "weights")
    given = [getattr(arguments, name, None) for name in named]
    model_file = arguments.model.rpartition(":")[0]
    return [Path(source) for source in (*given, model_file) if source]


def target_of(given: str, model: nn.Module, n_classes: int) -> int:
    """The class that ``--target`` means, by number or name.

    Raises:
        CallError: if the model has no such class, or several of this name.
    """
    names = [name_of(model, k) for k in range(n_classes)]
    same = [str(k) for k, name in enumerate(names) if name == given.strip()]
    if len(same) > 1:
        raise CallError(f"--target {given!r} names the classes {', '.join(same)}: give a number.")
    number = Classes(names).number(given)
    if number is None:
        raise CallError(
            f"--target is a class from 0 to {n_classes - 1} or its name, but got {given[:80]!r}."
        )
    return number


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


def chosen(text: str) -> dict[str, Method]:
    """The methods that ``--methods`` names.

    Raises:
        CallError: if it names none, one twice, or one that is not registered.
    """
    names = [*METHODS] if text.strip() == "all" else names_in("--methods", text)
    with as_call_error("--methods: "):
        return lookup(names)


def made_for(
    model: nn.Module, methods: Mapping[str, Method], arguments: argparse.Namespace
) -> tuple[dict[str, Configured], dict[str, str]]:
    """The methods made for the model, and why others can't be, which is said.

    Raises:
        CallError: if none can be.
    """
    made: dict[str, Configured] = {}
    unsuited: dict[str, str] = {}
    for name, method in methods.items():
        try:
            made[name] = configured(method, model, arguments)
        except Exception as error:
            unsuited[name] = reason(error)
    if not made:
        reasons = "; ".join(f"{name}: {why}" for name, why in unsuited.items())
        raise CallError(f"--methods: none suits the model ({reasons})")
    for name, why in unsuited.items():
        say(f"{name} is left out: {why}")
    return made, unsuited


def configured(method: Method, model: nn.Module, arguments: argparse.Namespace) -> Configured:
    """A method of the model, with the options and the seed that it takes.

    Raises:
        ValueError, TypeError: if it can't be used with the model.
    """
    attribution: Attribution = method.make(model)
    options = {**effort_of(arguments), "seed": arguments.seed}
    kept = accepted(attribution, options)
    if isinstance(attribution, Configured):
        kept, attribution = {**kept, **attribution.options}, attribution.method
    if isinstance(attribution, MaskAttribution):
        attribution.require_iteration(kept.get("n_steps"), kept.get("max_forwards"))
    return Configured(attribution, **kept)
