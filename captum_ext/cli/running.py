"""How much effort methods take, and methods made for a model with it."""

from __future__ import annotations

import argparse
from typing import Any

from torch import nn

from captum_ext._captum import Attribution
from captum_ext.attr import Configured
from captum_ext.attr.catalog import Method, accepted
from captum_ext.cli.errors import CallError


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


def check_counts(arguments: argparse.Namespace) -> None:
    """Raises CallError if there is less than one of what an option counts."""
    for option in ("steps", "n_masks", "n_iter", "max_forwards", "batch_size", "limit", "group"):
        value = getattr(arguments, option, None)
        if value is not None and value < 1:
            raise CallError(f"--{option.replace('_', '-')} is at least 1, but got {value}.")


def configured(method: Method, model: nn.Module, arguments: argparse.Namespace) -> Configured:
    """A method of the model, with the options that it takes.

    Raises:
        ValueError, TypeError: if it can't be used with the model.
    """
    attribution: Attribution = method.make(model)
    options = effort_of(arguments)
    if isinstance(attribution, Configured):
        chosen = {**accepted(attribution, options), **attribution.options}
        return Configured(attribution.method, **chosen)
    return Configured(attribution, **accepted(attribution, options))
