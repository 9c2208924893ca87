"""How the parameters of a stage are drawn anew: by a function, or as their layers draw them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from captum_ext._random import seeded, stream

Initializer = Callable[[Tensor, torch.Generator], Tensor]
"""From a parameter and a generator to fresh values of its shape, on the CPU."""
Initialize = Initializer | Literal["layer"]
"""Or "layer": what the parameter's own layer draws in its ``reset_parameters``."""


def matched_normal(parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers with the parameter's own mean and standard deviation.

    So activations keep their scale, also under normalization layers whose statistics are kept,
    and their weights are drawn instead of reset. A constant parameter gets a standard
    deviation of a tenth of its value, or 0.01 where it is 0.

    >>> w = matched_normal(torch.arange(1000.0), torch.Generator().manual_seed(0))
    >>> 450 < w.mean() < 550 and 250 < w.std() < 330
    tensor(True)
    """
    if parameter.is_complex():
        parts = torch.view_as_real(parameter.detach().resolve_conj())
        return torch.view_as_complex(matched_normal(parts, generator))
    values = parameter.detach().cpu().double()
    mean, std = values.mean(), values.std(unbiased=False)
    std = torch.where(std > 0, std, torch.where(mean != 0, mean.abs() / 10, 0.01))
    return mean + std * torch.randn(values.shape, generator=generator, dtype=torch.float64)


def drawn(model: nn.Module, name: str, seed: int, initialize: Initialize) -> Tensor:
    """Fresh values of a parameter; the seed and its place in the model decide them.

    Raises:
        ValueError: if their shape is another, or the layer has no way to draw them.
    """
    places = {key: place for place, (key, _) in enumerate(model.named_parameters())}
    parameter = model.get_parameter(name)
    if initialize == "layer":
        return _by_its_layer(model, name, stream(seed, _of_the_layer(places, name)))
    fresh = initialize(parameter, stream(seed, places[name]))
    if fresh.shape != parameter.shape:
        raise ValueError(
            f"`initialize` must keep the shape {tuple(parameter.shape)} of {name}, but gave "
            f"{tuple(fresh.shape)}."
        )
    return fresh


def _of_the_layer(places: dict[str, int], name: str) -> int:
    """The place of the layer's first parameter, so that all of them come from one reset."""
    layer = name.rpartition(".")[0]
    return next(place for key, place in places.items() if key.rpartition(".")[0] == layer)


def _by_its_layer(model: nn.Module, name: str, generator: torch.Generator) -> Tensor:
    # A copy on the CPU: every device sees the same, and the layer's statistics stay.
    path, _, own = name.rpartition(".")
    fresh = copy.deepcopy(model.get_submodule(path)).cpu()
    reset = getattr(fresh, "reset_parameters", getattr(fresh, "_reset_parameters", None))
    if reset is None or ".parametrizations." in f".{name}":
        raise ValueError(
            f"`initialize='layer'`, but {name} is of a {type(fresh).__name__}, which does not say "
            "how it was drawn: give `initialize` as a function, as `matched_normal`."
        )
    with seeded(generator.initial_seed(), torch.device("cpu")):
        reset()
    return fresh.get_parameter(own).detach()
