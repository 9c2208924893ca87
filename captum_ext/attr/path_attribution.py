"""`PathAttribution`: any path with any rule, under Captum's arguments."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import copy
from typing import Any, Literal, overload

import torch
from torch import Tensor
from typing_extensions import Self

from captum_ext._captum import GradientAttribution, log_usage
from captum_ext._numbers import whole
from captum_ext._tensors import accumulation_dtype, format_baselines, format_inputs, format_output
from captum_ext._text import number_of
from captum_ext._typing import Baselines, Form, Forward, Inputs, Target, Tensors
from captum_ext.path.base import FixedPath, Knot, Path, Rule, integrate
from captum_ext.path.placement import Placement, even
from captum_ext.path.rules import SharedRise, riemann
from captum_ext.score import Score, require_model

# Of fewer steps one holds half of a rise even where it is nearly straight.
_FEWEST_TOLD = 5
# A score that moves by rounding alone has no rise that a step could hold.
# Between the upper and the lower quarter of a table's columns.
_ORDERS = 100.0
_NO_RISE = 1e-4


class PathAttribution(GradientAttribution):
    """Credit collected along a path by a rule, both a user's own choice.

    Args:
        forward_func: the model or function to explain; it is explained as it is, so give
            probabilities to explain probabilities.
        path: from the baselines to the inputs.
        rule: `riemann`, `trapezoid`, `important_direction`, or a function of two knots.
        placement: where the knots of a `FixedPath` stand: `even`, `EqualRise()`, or a function as
            `Placement` describes it. None: the method's own way, which but for
            `BlurIG` and what is over it is equal steps.

    Raises:
        ValueError: for a placement on a path that finds its points itself.
        TypeError: for what is no model, no path, no rule or no placement.

    >>> from captum_ext.path import FixedPath, important_direction
    >>> class Curved(FixedPath):
    ...     def point(self, start, end, t):
    ...         return start + (end - start) * t**2
    >>> def model(x):
    ...     return torch.stack([x[:, 0] * x[:, 1], x[:, 0]], dim=1)
    >>> method = PathAttribution(model, Curved(), rule=important_direction)
    >>> method.attribute(torch.tensor([[1.0, 3.0]]), target=0)
    tensor([[2.7000, 0.3000]])
    """

    default_steps: int = 50
    default_placement: Placement | None = None
    """Where the steps are if neither ``placement`` nor ``n_steps`` says; None: equal steps."""

    def __init__(
        self,
        forward_func: Forward,
        path: Path,
        rule: Rule = riemann,
        placement: Placement | None = None,
    ) -> None:
        """As the class says."""
        require_model(forward_func)
        if not isinstance(path, Path):
            raise TypeError(
                f"`path` is a captum_ext.path.Path such as StraightLine(), "
                f"but got {type(path).__name__}."
            )
        if not callable(rule):
            raise TypeError(
                f"`rule` is a function of two knots, such as `riemann` of captum_ext.path, but got "
                f"{rule!r}."
            )
        _check_placement(placement, path)
        super().__init__(forward_func)
        self.path = path
        self.rule = rule
        self.placement = placement

    @property
    def takes_placement(self) -> bool:
        """Whether its path is known beforehand, so that its knots may be placed."""
        return isinstance(self.path, FixedPath)

    def placed(self, placement: Placement | None) -> Self:
        """The same method with its knots placed so, or None for the method's own way.

        Raises:
            ValueError, TypeError: as for the argument ``placement``.
        """
        _check_placement(placement, self.path)
        found = copy(self)
        found.placement = placement
        return found

    def steps(self, n_steps: int | None) -> tuple[Placement, int]:
        """The placement and the number of steps of a call with this ``n_steps``."""
        own = self.default_placement if n_steps is None else None
        placement = self.placement or own or even
        if n_steps is None:
            # What spends its steps where they pay needs fewer.
            n_steps = getattr(placement, "default_steps", self.default_steps)
        return placement, n_steps

    @overload
    def attribute(
        self,
        inputs: Form,
        baselines: Baselines = ...,
        target: Target = ...,
        additional_forward_args: Any = ...,
        n_steps: int | None = ...,
        internal_batch_size: int | None = ...,
        return_convergence_delta: Literal[False] = ...,
        *,
        method: str | None = ...,
    ) -> Form: ...

    @overload
    def attribute(
        self,
        inputs: Form,
        baselines: Baselines = ...,
        target: Target = ...,
        additional_forward_args: Any = ...,
        n_steps: int | None = ...,
        internal_batch_size: int | None = ...,
        *,
        return_convergence_delta: Literal[True],
        method: str | None = ...,
    ) -> tuple[Form, Tensor]: ...

    @overload
    def attribute(
        self,
        inputs: Inputs,
        baselines: Baselines = ...,
        target: Target = ...,
        additional_forward_args: Any = ...,
        n_steps: int | None = ...,
        internal_batch_size: int | None = ...,
        return_convergence_delta: bool = ...,
        *,
        method: str | None = ...,
    ) -> Inputs | tuple[Inputs, Tensor]: ...

    @log_usage()
    def attribute(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int | None = None,
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        *,
        method: str | None = None,
    ) -> Any:
        """Attributes the model's output at the target to the inputs.

        Args:
            inputs: a tensor or a tuple of tensors, (N, ...), floating point.
            baselines: where the path starts: None for zeros, a number, a tensor of the inputs'
                shape or with one example, or a tuple of these, one per input.
            target: which output is explained: None if there is one per example, an int or a
                tuple of ints for all examples, or a list or 1-D tensor with one per example.
            additional_forward_args: further arguments of the model, one or a tuple; a tensor
                with N rows follows its examples, all else is passed as it is.
            n_steps: steps on the path, at least 1; None is the paper's number, or the
                placement's; `BlurIG` and what is over it then place them as `BlurIG` says.
            internal_batch_size: examples per model call. None lets the library choose: as many
                as suit the device, 8 photographs on a CPU. The result does not depend on it.
            return_convergence_delta: also return the completeness error.
            method: ignored; Captum's LayerIntegratedGradients passes its quadrature here to
                whatever stands in for its ``ig``.

        Returns:
            Attributions in the inputs' form, shape and type, positive where a feature raises
            the output. With ``return_convergence_delta``, also the sum of attributions minus
            the rise from the path's first point to its last, (N,).

        Warns:
            UserWarning: where values are read (IDGI, aligned contributions) and one of 5 equal
                steps or more holds over half of the sizes of an example's rises, whose map is
                then little more than that step's; and where IDGI is given a table whose columns
                move by amounts that differ by orders of magnitude, since its shares depend on
                units.

        Raises:
            ValueError: if a shape, a number of steps or a value does not fit, or the model
                gives nan or infinite values or gradients, or no gradient at all.
            TypeError: if inputs or baselines are not floating-point tensors.
            AssertionError: if the target does not fit the output, as in Captum, or is made of
                anything but whole numbers.
        """
        del method
        given = (inputs, baselines, target, additional_forward_args, n_steps, internal_batch_size)
        (found,) = walked([self], *given, return_convergence_delta)
        return found

    def has_convergence_delta(self) -> bool:
        """Path methods are complete, so they have a delta."""
        return True

    @property
    def multiplies_by_inputs(self) -> bool:
        """Credit already holds the displacement: these are global attributions."""
        return True

    @classmethod
    def get_name(cls) -> str:
        """The method's name, as its paper writes it."""
        return cls.__name__


def walked(
    methods: Sequence[PathAttribution],
    inputs: Inputs,
    baselines: Baselines,
    target: Target,
    additional_forward_args: Any,
    n_steps: int | None,
    internal_batch_size: int | None,
    return_convergence_delta: bool,
) -> list[Any]:
    """What methods that share a walk give, those of one model, path, placement and steps."""
    first_method = methods[0]
    path = first_method.path
    placement, n_steps = first_method.steps(n_steps)
    n_steps = whole("n_steps", n_steps)
    if n_steps < 1:
        raise ValueError(
            f"`n_steps` is the number of steps on the path, at least 1, but got {n_steps}."
        )
    tensors = format_inputs(inputs)
    path.check(tensors, n_steps)
    if baselines is not None and not path.uses_baselines:
        warnings.warn(
            f"`baselines` is ignored: {type(path).__name__} has a start of its own.",
            stacklevel=4,
        )
        baselines = None
    score = Score(
        first_method.forward_func,
        tensors,
        target,
        additional_forward_args,
        first_method.gradient_func,
        internal_batch_size,
    )
    with score.borrowed():
        ends = _widen(format_baselines(baselines, tensors)), _widen(tensors)
        _warn_of_units(methods, *ends)
        where = () if placement is even else (placement,)
        knots = path.knots(score, *ends, n_steps, *where)
        rules = [_Watched(m.rule) if isinstance(m.rule, SharedRise) else m.rule for m in methods]
        *credits, first, last = integrate(knots, *rules)
        if placement is even and isinstance(path, FixedPath) and n_steps >= _FEWEST_TOLD:
            _warn_of_one_step(methods, rules, n_steps)
        maps = [format_output(credit, inputs) for credit in credits]
        if not return_convergence_delta:
            return maps
        return [(credit, _delta(credit, first, last, score)) for credit in maps]


class _Watched:
    """A rule that shares out rises, which remembers them: a tensor (N,) a step."""

    def __init__(self, rule: SharedRise) -> None:
        self.rule = rule
        self.pairs = rule.pairs
        self.rises: list[Tensor] = []

    def __call__(self, here: Knot, there: Knot) -> Tensors:
        self.rises.append(there.value - here.value)
        return self.rule(here, there)


def _warn_of_one_step(
    methods: Sequence[PathAttribution], rules: Sequence[Rule], n_steps: int
) -> None:
    """Warns, once, where one step holds more than half of the credit of an example."""
    for method, rule in zip(methods, rules, strict=True):
        if isinstance(rule, _Watched) and _one_step_rises(rule.rises):
            # No number of the examples', so that a run over many images says it once.
            warnings.warn(
                f"{method.get_name()}: more than half of the rise lies in one of the "
                f"{number_of(n_steps, 'equal step')}, and the map is little more than that "
                "step's. Take more steps, or placement=EqualRise() of captum_ext.path, whose steps "
                "are where the score changes.",
                stacklevel=5,
            )
            return


def _warn_of_units(methods: Sequence[PathAttribution], starts: Tensors, ends: Tensors) -> None:
    """Warns where a table's columns move by orders of magnitude more than others.

    A squared gradient then says which unit a column is in, more than what it does.
    """
    depends = [m for m in methods if getattr(m.rule, "depends_on_units", False)]
    if not depends or any(x.dim() != 2 for x in ends):
        return
    moves = torch.cat([(x - b).abs().amax(0) for b, x in zip(starts, ends, strict=True)])
    moving = moves[moves > 0].sort().values
    # The middle half, so that a column of mostly zeros does not decide.
    if len(moving) >= 4 and moving[-(len(moving) // 4)] > _ORDERS * moving[len(moving) // 4 - 1]:
        warnings.warn(
            f"{depends[0].get_name()}: columns move by amounts that differ by orders of magnitude, "
            "and shares go by squared gradient, which depends on the units of features: "
            "standardize the columns, or use AlignedContribution, which does not.",
            stacklevel=5,
        )


def _one_step_rises(rises: Sequence[Tensor]) -> bool:
    # Read from the device once a walk, as a read at each step would stall it.
    sizes = torch.stack([*rises]).abs()
    total = sizes.sum(0)
    return bool(((sizes.amax(0) > total / 2) & (total > _NO_RISE)).any())


def _check_placement(placement: Placement | None, path: Path) -> None:
    if placement is None:
        return
    if not callable(placement) or isinstance(placement, type):
        what = placement.__name__ if isinstance(placement, type) else repr(placement)
        raise TypeError(
            f"`placement` is even, EqualRise(), or a function of the model's values along the "
            f"path and the number of steps, but got {what}."
        )
    if not isinstance(path, FixedPath):
        raise ValueError(
            f"`placement` says where knots stand on a path whose points are known beforehand, but "
            f"{type(path).__name__} finds its own as it walks: leave it out."
        )


def _widen(tensors: Tensors) -> Tensors:
    """At least float32, since the points of a path are closer than half precision can tell."""
    return tuple(x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors)


def _delta(attributions: Inputs, first: Knot, last: Knot, score: Score) -> torch.Tensor:
    wide = accumulation_dtype(score.device)
    parts = attributions if isinstance(attributions, tuple) else (attributions,)
    total = sum(a.reshape(len(a), -1).sum(1, dtype=wide) for a in parts)
    delta = total - (last.value - first.value)
    return delta.to(torch.promote_types(score.dtypes[0], torch.float32))
