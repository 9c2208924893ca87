"""`impostors`: maps that know nothing of the model, to be scored beside a method's."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from captum_ext._captum import Attribution
from captum_ext._memory import module_of
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
    return {"image edges": Edges, "random map": lambda _: _Noise(generator)}


class Impostor(Attribution, ABC):
    """A method that makes its map of the inputs alone.

    Args:
        forward_func: is never asked.
    """

    def __init__(self, forward_func: object = None) -> None:
        super().__init__(forward_func)

    def attribute(
        self, inputs: Inputs, target: object = None, additional_forward_args: object = None
    ) -> Any:
        """A map of each input's shape; all but ``inputs`` is ignored."""
        maps = tuple(self.map_of(x.detach()) for x in as_tuple(inputs))
        return maps if isinstance(inputs, tuple) else maps[0]

    @abstractmethod
    def map_of(self, inputs: Tensor) -> Tensor:
        """What it takes for the map of one input tensor."""


class Edges(Impostor):
    """The contrast of the inputs: the sum of differences to the next value along each axis.

    >>> Edges().attribute(torch.tensor([[[0.0, 1.0, 1.0]]]))
    tensor([[[1., 0., 0.]]])
    """

    def map_of(self, inputs: Tensor) -> Tensor:
        if inputs.dim() < 3:
            return inputs - inputs.mean(-1, keepdim=True)
        steps = torch.zeros_like(inputs)
        for axis in range(2, inputs.dim()):
            difference = inputs.diff(dim=axis).abs()
            steps.narrow(axis, 0, difference.shape[axis]).add_(difference)
        return steps


class RandomMap(Impostor):
    """Normal numbers, which the example, the model's parameters and ``seed`` decide.

    The same in every batch and run. Another model has another map, drawn independently: where
    maps of two models are compared, it is at chance. A function without parameters is like none.

    >>> x = torch.rand(2, 3, 4, 4)
    >>> maps = RandomMap().attribute(x)
    >>> torch.equal(RandomMap().attribute(x[1:]), maps[1:]), torch.equal(maps[0], maps[1])
    (True, False)
    >>> one, two = (RandomMap(torch.nn.Linear(4, 2)).attribute(x) for _ in range(2))
    >>> torch.equal(one, two)
    False
    """

    def attribute(
        self,
        inputs: Inputs,
        target: object = None,
        additional_forward_args: object = None,
        seed: int = 0,
    ) -> Any:
        """A map of each input's shape; all but ``inputs`` and ``seed`` is ignored."""
        keys = self._of_model
        maps = tuple(
            torch.stack([_drawn(one, seed, k, *keys) for one in x.detach()])
            for k, x in enumerate(as_tuple(inputs))
        )
        return maps if isinstance(inputs, tuple) else maps[0]

    def map_of(self, inputs: Tensor) -> Tensor:
        return torch.stack([_drawn(one, 0, 0, *self._of_model) for one in inputs])

    @cached_property
    def _of_model(self) -> list[int]:
        """What tells the model from others; nothing where there are no parameters."""
        module = module_of(self.forward_func)
        held = list(module.parameters()) if isinstance(module, nn.Module) else []
        told = [p.detach().flatten().contiguous() for p in held if not (is_lazy(p) or p.is_meta)]
        return [_key(*(p.cpu().view(torch.uint8) for p in told))] if told else []


def _drawn(example: Tensor, seed: int, place: int, *keys: int) -> Tensor:
    """Of an example's values, so that images of a data set don't share one order of pixels."""
    key = _key(example.cpu().double())
    return torch.randn(example.shape, generator=stream(seed, place, key, *keys)).to(example)


def _key(*contents: Tensor) -> int:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content.contiguous().numpy().data)
    return int.from_bytes(digest.digest()[:8], "big")


class _Noise(Impostor):
    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def map_of(self, inputs: Tensor) -> Tensor:
        return torch.randn(inputs.shape, generator=self.generator).to(inputs)
