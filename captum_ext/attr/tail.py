"""A model from a layer on: what layers give is captured, and put in the place of what they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from captum_ext._memory import module_of
from captum_ext._text import number_of
from captum_ext._typing import Forward, Tensors
from captum_ext.attr.activations import require_visible, shown
from captum_ext.score import Score


@dataclass(frozen=True)
class Site:
    """Where a model is cut: the outputs of layers, or what they are given.

    An activation is a tensor of floating point, alone or in a tuple; of a tuple, all else is
    left as the model makes it.

    Args:
        forward_func: the model or function whose layers these are.
        layers: modules of which none depends on another.
        of_inputs: whether what they are given is meant.

    Raises:
        ValueError: for a model whose layers can't be seen, or that runs on several devices.
    """

    forward_func: Forward
    layers: tuple[nn.Module, ...]
    of_inputs: bool = False

    def __post_init__(self) -> None:
        module = module_of(self.forward_func)
        if isinstance(module, nn.Module):
            require_visible(module)
            if any(isinstance(part, nn.DataParallel) for part in module.modules()):
                raise ValueError(
                    "`forward_func` must run its layers once, but nn.DataParallel runs copies of "
                    "them: give the module inside, `.module`."
                )

    def activations(self, score: Score, points: Tensors) -> tuple[list[Tensors], Tensor]:
        """What each layer gives for inputs, each (N, ...), and the score of each example, (N,)."""
        n = len(points[0])

        def ask(part: slice) -> tuple[list[Tensors], Tensor]:
            rows = torch.arange(part.start, part.stop, device=points[0].device)
            own = tuple(p[part] for p in points)
            return self._captured(score, own, None if len(rows) == n else rows)

        found = score.calls(n, ask)
        by_layer = zip(*(activations for activations, _ in found), strict=True)
        joined = [tuple(torch.cat(parts) for parts in zip(*one, strict=True)) for one in by_layer]
        return joined, torch.cat([values for _, values in found])

    def _captured(
        self, score: Score, points: Tensors, rows: Tensor | None
    ) -> tuple[list[Tensors], Tensor]:
        found: dict[int, Tensors] = {}

        def keep(k: int, value: Any) -> None:
            # Copied, as the model may write over it.
            found[k] = tuple(a.detach().clone() for a in self._of(k, value, len(points[0])))

        with self.visited(keep):
            values = score.select(score.outputs(points, rows), rows)
        return [found[k] for k in range(len(self.layers))], values

    def _of(self, k: int, value: Any, n: int) -> Tensors:
        """The activations in what a layer gives or is given."""
        does = "is given" if self.of_inputs else "gives"
        if not isinstance(value, Tensor | tuple):
            raise TypeError(
                f"`layer` must work on a tensor or a tuple of them, but {shown(self.layers[k])} "
                f"{does} {type(value).__name__}: choose a layer inside it."
            )
        held = [a for a in _listed(value) if _is_activation(a)]
        if not held:
            kinds = [str(getattr(a, "dtype", type(a).__name__)) for a in _listed(value)]
            raise TypeError(
                f"`layer` must work on tensors of floating point, but {shown(self.layers[k])} "
                f"{does} {', '.join(kinds) or 'none but by keyword'}: choose another layer, or the "
                f"other side of it with attribute_to_layer_input={not self.of_inputs}."
            )
        for a in held:
            if a.dim() == 0 or len(a) != n:
                raise ValueError(
                    f"`layer` must work on one row per example, but for {number_of(n, 'example')} "
                    f"{shown(self.layers[k])} {does} shape {tuple(a.shape)}: choose one whose "
                    "first dimension counts examples, or give them one by one."
                )
        return tuple(held)

    @contextmanager
    def visited(self, change: Callable[[int, Any], Any]) -> Iterator[None]:
        """While it lasts, what layer k gives, or is given, becomes ``change(k, value)``.

        Raises:
            ValueError: in the end, if a layer did not run once.
        """
        times = [0] * len(self.layers)

        def seen(k: int, value: Any) -> Any:
            times[k] += 1
            return change(k, value)

        def hook(k: int) -> Any:
            if self.of_inputs:
                return lambda module, given: seen(k, given)
            return lambda module, given, output: seen(k, output)

        handles = [
            layer.register_forward_pre_hook(hook(k))
            if self.of_inputs
            else layer.register_forward_hook(hook(k))
            for k, layer in enumerate(self.layers)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        for layer, count in zip(self.layers, times, strict=True):
            if count != 1:
                raise ValueError(
                    f"`layer` must run once when `forward_func` does, but {shown(layer)} runs "
                    f"{f'{count} times' if count else 'not at all'}: choose a layer around or "
                    "beside it."
                )


class Tail(nn.Module):
    """A model as a function of activations, followed by its inputs and further arguments.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> tail = Tail(Site(net, (net[0],)), [1])
    >>> tail(torch.tensor([[1.0, -1.0, 2.0]]), torch.zeros(1, 2))
    tensor([[1., 0., 2.]])
    """

    def __init__(self, site: Site, counts: list[int]) -> None:
        super().__init__()
        self.site = site
        self.counts = counts
        # So that its parameters and buffers are seen; a plain function has none.
        self.model = module_of(site.forward_func)

    def forward(self, *given: Any) -> Any:
        """The model's output for inputs whose layers give the activations."""
        ends = [0, *accumulate(self.counts)]
        own = [given[a:b] for a, b in pairwise(ends)]
        with self.site.visited(lambda k, value: _replaced(value, own[k])):
            return self.site.forward_func(*given[ends[-1] :])


def _listed(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _is_activation(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _replaced(value: Any, activations: Tensors) -> Any:
    """The same with other activations."""
    following = iter(activations)
    held = tuple(next(following) if _is_activation(a) else a for a in _listed(value))
    if hasattr(value, "_fields"):
        return type(value)(*held)
    return held if isinstance(value, tuple) else held[0]
