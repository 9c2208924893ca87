"""Methods made for a model with the command's options."""

from __future__ import annotations

import argparse

from torch import nn

from captum_ext._captum import Attribution
from captum_ext.attr import Configured
from captum_ext.attr.catalog import Method, accepted

COUNTS = ("steps", "n_masks", "n_iter", "max_forwards", "limit", "batch_size")


def configured(method: Method, model: nn.Module, arguments: argparse.Namespace) -> Configured:
    """A method of the model, with the options that it takes.

    Raises:
        ValueError, TypeError: if it can't be used with the model.
    """
    attribution: Attribution = method.make(model)
    options = {
        "n_steps": arguments.steps,
        "n_masks": arguments.n_masks,
        "n_iter": arguments.n_iter,
        "max_forwards": arguments.max_forwards,
    }
    if isinstance(attribution, Configured):
        chosen = {**accepted(attribution, options), **attribution.options}
        return Configured(attribution.method, **chosen)
    return Configured(attribution, **accepted(attribution, options))
