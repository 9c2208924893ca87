"""How the parameters of a stage are drawn anew: by a function, or as their layers draw them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
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


def drawn(
    model: nn.Module, names: Sequence[str], seed: int, initialize: Initialize
) -> dict[str, Tensor]:
    """Fresh values of parameters; the seed and their places in the model decide them.

    Raises:
        ValueError: if a shape is another, or a layer has no way to draw them.
    """
    places = {key: place for place, (key, _) in enumerate(model.named_parameters())}
    if initialize == "layer":
        return _by_their_layers(model, names, seed, places)
    return {name: _by(initialize, model, name, stream(seed, places[name])) for name in names}


def _by(initialize: Initializer, model: nn.Module, name: str, generator: torch.Generator) -> Tensor:
    parameter = model.get_parameter(name)
    fresh = initialize(parameter, generator)
    if fresh.shape != parameter.shape:
        raise ValueError(
            f"`initialize` must keep the shape {tuple(parameter.shape)} of {name}, but gave "
            f"{tuple(fresh.shape)}."
        )
    return fresh


def _by_their_layers(
    model: nn.Module, names: Sequence[str], seed: int, places: dict[str, int]
) -> dict[str, Tensor]:
    """All parameters of a layer come from one reset, at the place of its first parameter."""
    first: dict[str, int] = {}
    for name, place in places.items():
        first.setdefault(name.rpartition(".")[0], place)
    layers: dict[str, nn.Module] = {}
    found = {}
    for name in names:
        path, _, own = name.rpartition(".")
        if path not in layers:
            layers[path] = _reset(model, name, stream(seed, first[path]))
        found[name] = layers[path].get_parameter(own).detach()
    return found


def _reset(model: nn.Module, name: str, generator: torch.Generator) -> nn.Module:
    """A copy of a parameter's layer, reset: on the CPU, where every device sees the same."""
    fresh = copy.deepcopy(model.get_submodule(name.rpartition(".")[0])).cpu()
    reset = getattr(fresh, "reset_parameters", getattr(fresh, "_reset_parameters", None))
    if reset is None or ".parametrizations." in f".{name}":
        raise ValueError(
            f"`initialize='layer'`, but {name} is of a {type(fresh).__name__}, which does not say "
            "how it was drawn: give `initialize` as a function, as `matched_normal`."
        )
    with seeded(generator.initial_seed(), torch.device("cpu")):
        reset()
    return fresh
