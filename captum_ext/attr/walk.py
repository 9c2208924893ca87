"""`walk`: the maps of several methods, where those that share a path walk it once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from torch import Tensor

from captum_ext._captum import Attribution
from captum_ext._typing import Baselines, Form, Inputs, Target
from captum_ext.attr.configured import unwrapped
from captum_ext.attr.path_attribution import PathAttribution, walked


@overload
def walk(
    methods: Sequence[Attribution],
    inputs: Form,
    baselines: Baselines = ...,
    target: Target = ...,
    additional_forward_args: Any = ...,
    n_steps: int | None = ...,
    internal_batch_size: int | None = ...,
    return_convergence_delta: Literal[False] = ...,
) -> list[Form]: ...


@overload
def walk(
    methods: Sequence[Attribution],
    inputs: Form,
    baselines: Baselines = ...,
    target: Target = ...,
    additional_forward_args: Any = ...,
    n_steps: int | None = ...,
    internal_batch_size: int | None = ...,
    *,
    return_convergence_delta: Literal[True],
) -> list[tuple[Form, Tensor]]: ...


@overload
def walk(
    methods: Sequence[Attribution],
    inputs: Inputs,
    baselines: Baselines = ...,
    target: Target = ...,
    additional_forward_args: Any = ...,
    n_steps: int | None = ...,
    internal_batch_size: int | None = ...,
    return_convergence_delta: bool = ...,
) -> list[Any]: ...


def walk(
    methods: Sequence[Attribution],
    inputs: Inputs,
    baselines: Baselines = None,
    target: Target = None,
    additional_forward_args: Any = None,
    n_steps: int | None = None,
    internal_batch_size: int | None = None,
    return_convergence_delta: bool = False,
) -> list[Any]:
    """What several path methods give, where methods that share a walk walk it once.

    Methods share one if they have the same model, path, placement and number of steps, such as
    `BlurIG` and `IDGI` over it, or `PathAttribution` with several rules. Each one's attributions
    are bit for bit those of its own ``attribute``.

    Args:
        methods: `GuidedIG`, `BlurIG`, `IDGI` and any `PathAttribution`, in any order, or
            `Configured` with a number of steps.
        inputs: this and all else as for `PathAttribution.attribute`.

    Returns:
        What each method's ``attribute`` returns, in order.

    Raises:
        TypeError: for a method that is no `PathAttribution`, such as Captum's own.
        ValueError, AssertionError: as ``attribute``.

    >>> import torch
    >>> from captum_ext.path import StraightLine, important_direction, trapezoid
    >>> def model(x):
    ...     return x.square().sum(1)
    >>> rules = (trapezoid, important_direction)
    >>> methods = [PathAttribution(model, StraightLine(), rule) for rule in rules]
    >>> walk(methods, torch.tensor([[3.0, 1.0]]), n_steps=10)
    [tensor([[9., 1.]]), tensor([[9., 1.]])]
    """
    for method in methods:
        if not _walks(method):
            raise TypeError(
                f"`methods` are path methods of captum_ext.attr, or these with `n_steps`, but got "
                f"{type(unwrapped(method)[0]).__name__}: call its own `attribute`."
            )
    found: dict[int, Any] = {}
    for group in shared_walks(methods, n_steps):
        own = [unwrapped(methods[k])[0] for k in group]
        steps = _n_steps(methods[group[0]], n_steps)
        credits = walked(
            own, inputs, baselines, target, additional_forward_args, steps, internal_batch_size,
            return_convergence_delta,
        )  # fmt: skip
        found.update(zip(group, credits, strict=True))
    return [found[k] for k in range(len(methods))]


def shared_walks(methods: Sequence[Attribution], n_steps: int | None = None) -> list[list[int]]:
    """Which methods, by position, share a walk of this many steps; one of no path is alone."""
    groups: list[list[int]] = []
    for k, method in enumerate(methods):
        for group in groups:
            if _share(methods[group[0]], method, n_steps):
                group.append(k)
                break
        else:
            groups.append([k])
    return groups


def _walks(method: Attribution) -> bool:
    inner, options = unwrapped(method)
    return isinstance(inner, PathAttribution) and set(options) <= {"n_steps"}


def _n_steps(method: Attribution, n_steps: int | None) -> int | None:
    """Those of the call come before those that a method brings along."""
    own: int | None = unwrapped(method)[1].get("n_steps")
    return own if n_steps is None else n_steps


def _share(a: Attribution, b: Attribution, n_steps: int | None) -> bool:
    if not (_walks(a) and _walks(b)):
        return False
    steps = [_n_steps(method, n_steps) for method in (a, b)]
    a, b = unwrapped(a)[0], unwrapped(b)[0]
    same_model = a.forward_func is b.forward_func and a.gradient_func is b.gradient_func
    return same_model and _equal((a.path, *a.steps(steps[0])), (b.path, *b.steps(steps[1])))


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except Exception:
        # A path of a user's own may hold tensors, which give no single answer.
        return False
