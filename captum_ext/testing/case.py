"""`AttributionCase`: a method, and with what it is asked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

from captum_ext._captum import Attribution
from captum_ext._random import seeded
from captum_ext.testing.models import network
from captum_ext.testing.report import NotApplicableError, ViolationError

Options = Mapping[str, Any] | Callable[[Any], Mapping[str, Any]]


def _images() -> Tensor:
    return torch.rand(3, 3, 12, 10, generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True, eq=False)
class AttributionCase:
    """A method as it is asked by the checks.

    Args:
        make_method: from a model to the method, as its class does. The model is a module.
        inputs: (N, ...) with at least two examples; by default three small images.
        model: from inputs to (N, classes), at least two; by default a network with ReLUs for
            images (N, C, H, W) or tables (N, features), which gives logits. Copies are explained.
        options: arguments of ``attribute`` that make it quick or that it needs; or a function
            that gives them for the inputs, a tensor or a tuple.
        claims: names of the axioms that the method keeps to; no other is asked.
        exempt: checks that shall not be asked, by name, with the reason.
        start: what the method compares inputs with where it takes no ``baselines``, or ignores
            them; None is zeros.
        tolerance: by how much two maps that should be the same may differ, as a share of the
            largest credit.

    Raises:
        ValueError: if a name is not one of a check, or inputs and model do not fit.
        TypeError: if ``make_method`` is a method already made.
    """

    make_method: Callable[[Any], Attribution]
    inputs: Tensor = field(default_factory=_images)
    model: nn.Module | None = None
    options: Options = field(default_factory=dict)
    claims: Iterable[str] = ()
    exempt: Mapping[str, str] = field(default_factory=dict)
    start: Callable[[Tensor], Tensor] | None = None
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if isinstance(self.make_method, Attribution) or not callable(self.make_method):
            raise TypeError(
                "`make_method` makes a method from a model, such as its class or "
                "`lambda model: Mine(model, width=3)`, since checks bring models of their own; "
                f"but got {type(self.make_method).__name__}."
            )
        if not isinstance(self.inputs, Tensor) or len(self.inputs) < 2:
            raise ValueError("`inputs` is a tensor with at least two examples.")
        if self.n_classes < 2:
            raise ValueError("`model` must give (N, classes), two at least.")

    @property
    def name(self) -> str:
        """What the method is called in a report."""
        name: str = self.made().get_name()
        return name

    @cached_property
    def _model(self) -> nn.Module:
        return network(self.inputs) if self.model is None else self.model

    @cached_property
    def n_classes(self) -> int:
        """Columns of the model's output; 0 if it is not (N, classes)."""
        with torch.no_grad():
            output = self.fresh_model()(self.inputs.clone())
        return output.shape[1] if output.dim() == 2 and len(output) == len(self.inputs) else 0

    @property
    def classes(self) -> list[int]:
        """A target for each example."""
        return [i % self.n_classes for i in range(len(self.inputs))]

    def fresh_model(self) -> nn.Module:
        """A copy of the model, so that what a method does to it reaches no other check."""
        return deepcopy(self._model)

    def of(self, inputs: Tensor) -> AttributionCase:
        """The same with other inputs."""
        return replace(self, inputs=inputs, model=self._model)

    def made(self, model: nn.Module | None = None) -> Attribution:
        """The method of a model."""
        return self.make_method(self.fresh_model() if model is None else model)

    def attribute(self, inputs: Any = None, model: nn.Module | None = None, **named: Any) -> Any:
        """What the method gives, whatever it is, under a seed; other random states stay."""
        inputs = self.inputs.clone() if inputs is None else inputs
        with self.quiet():
            return self.made(model).attribute(inputs, **{**self.chosen(inputs), **named})

    def map(self, inputs: Any = None, model: nn.Module | None = None, **named: Any) -> Tensor:
        """The one map that the method gives for one tensor."""
        return one_tensor(self.attribute(inputs, model, **named))

    @cached_property
    def plain(self) -> Tensor:
        """The map of target 1, to compare with."""
        return self.map(target=1)

    def chosen(self, inputs: Any) -> dict[str, Any]:
        """The options for inputs."""
        return dict(self.options(inputs) if callable(self.options) else self.options)

    @contextmanager
    def quiet(self, seed: int = 0) -> Iterator[None]:
        """The global random states under a seed, and no warnings."""
        with warnings.catch_warnings(), seeded(seed, self.inputs.device):
            warnings.simplefilter("ignore")
            yield

    def takes(self, name: str) -> bool:
        """Whether ``attribute`` takes an argument, also one that it hands on."""
        return name in arguments_of(self.made())

    def require_argument(self, *names: str) -> str:
        """The first of the arguments that ``attribute`` takes; without one, not applicable."""
        for name in names:
            if self.takes(name):
                return name
        raise NotApplicableError(f"`attribute` takes no {' or '.join(names)}")

    @cached_property
    def drawn(self) -> float:
        """By how much maps differ between two states of the global generators."""
        with self.quiet(1):
            method = self.made()
            inputs = self.inputs.clone()
            other = one_tensor(method.attribute(inputs, target=1, **self.chosen(inputs)))
        return float((other - self.plain).detach().abs().nan_to_num(0.0).max())

    def require_not_drawn(self) -> None:
        """Not applicable where examples have random numbers of their own."""
        if self.drawn > 0:
            raise NotApplicableError(
                "the method draws from the global random state, whose maps differ by "
                f"{self.drawn:.2g}: a seed of its own would make the question one"
            )


def arguments_of(method: Attribution) -> list[str]:
    """The names of the arguments of ``attribute``, of one that hands on also the inner ones'."""
    taken = signature(method.attribute).parameters
    names = [name for name, one in taken.items() if one.kind is not Parameter.VAR_KEYWORD]
    inner = getattr(method, "method", getattr(method, "attribution_method", None))
    if len(names) < len(taken) and isinstance(inner, Attribution):
        names += arguments_of(inner)
    return names


def one_tensor(found: Any) -> Tensor:
    """A map, or `ViolationError`."""
    if not isinstance(found, Tensor):
        raise ViolationError(f"a tensor went in, but {described(found)} came out")
    return found


def described(found: Any) -> str:
    """What something is, with its shape."""
    if isinstance(found, Tensor):
        return f"a tensor of shape {tuple(found.shape)} and {found.dtype}"
    if isinstance(found, tuple):
        return f"a tuple of {len(found)}"
    return f"{type(found).__name__}"


def require_shape(found: Tensor, like: Tensor) -> None:
    """`ViolationError` where a map has not the inputs' shape."""
    if found.shape != like.shape:
        raise ViolationError(f"inputs {tuple(like.shape)} got a map {tuple(found.shape)}")


def require_same(
    found: Tensor, expected: Tensor, tolerance: float, names: tuple[str, str], scale: float = 0.0
) -> None:
    """`ViolationError` at the worst place where maps differ by more than a share of the largest.

    Args:
        found: a map.
        expected: another, of the same shape.
        tolerance: the share.
        names: what they are, for the message.
        scale: of what the share is, where that is more than their largest credit.
    """
    require_shape(found, expected)
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    gap = (found - expected).abs().nan_to_num(torch.inf)
    gap[(found == expected) | (found.isnan() & expected.isnan())] = 0
    largest = max(_largest(found), _largest(expected), scale)
    if gap.max() > tolerance * largest:
        place = tuple(int(i) for i in (gap == gap.max()).nonzero()[0])
        raise ViolationError(
            f"the credit at {place} is {found[place]:.4g} {names[0]}, "
            f"{expected[place]:.4g} {names[1]}"
        )


def _largest(x: Tensor) -> float:
    finite = x[x.isfinite()]
    return float(finite.abs().max()) if len(finite) else 0.0
