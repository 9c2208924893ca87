"""`impostors`: maps that know nothing of the model, to be scored beside a method's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from captum_ext._random import stream
from captum_ext._typing import Inputs
from captum_ext.metrics.sanity.made_method import MakeMethod, as_tuple


def impostors(seed: int = 0) -> dict[str, MakeMethod]:
    """Two ways to make a map that asks no model, by name, as `ParameterRandomization` takes them.

    "image edges" is the contrast of the inputs, which never changes: what fails a sanity check.
    "random map" is drawn anew each time: what passes it, and explains nothing either.

    Args:
        seed: of the random maps.

    >>> from captum_ext.metrics import ParameterRandomization
    >>> check = {}
    >>> for name, make in impostors().items():
    ...     one = ParameterRandomization(make, similarity=["abs_spearman"])
    ...     one.update(torch.nn.Linear(50, 2), torch.rand(1, 50), target=1)
    ...     check[name] = round(float(one.compute()["abs_spearman"]), 1)
    >>> check["image edges"], abs(check["random map"]) < 0.5
    (1.0, True)
    """
    generator = stream(seed)
    return {"image edges": lambda _: _Edges(), "random map": lambda _: _Noise(generator)}


class _Impostor(ABC):
    """What of a method the sanity checks use."""

    def attribute(
        self, inputs: Inputs, target: object = None, additional_forward_args: object = None
    ) -> Any:
        maps = tuple(self.map_of(x.detach()) for x in as_tuple(inputs))
        return maps if isinstance(inputs, tuple) else maps[0]

    @abstractmethod
    def map_of(self, inputs: Tensor) -> Tensor:
        """What it takes for the map of one input tensor."""


class _Edges(_Impostor):
    def map_of(self, inputs: Tensor) -> Tensor:
        if inputs.dim() < 3:
            return inputs - inputs.mean(-1, keepdim=True)
        steps = torch.zeros_like(inputs)
        for axis in range(2, inputs.dim()):
            difference = inputs.diff(dim=axis).abs()
            steps.narrow(axis, 0, difference.shape[axis]).add_(difference)
        return steps


class _Noise(_Impostor):
    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def map_of(self, inputs: Tensor) -> Tensor:
        return torch.randn(inputs.shape, generator=self.generator).to(inputs)
