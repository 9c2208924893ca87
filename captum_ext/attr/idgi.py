"""Important Direction Gradient Integration, over any integration path."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, ClassVar

from captum.attr import IntegratedGradients

from captum_ext.attr.path_attribution import PathAttribution
from captum_ext.path.base import Path, StraightLine
from captum_ext.path.placement import Placement
from captum_ext.path.rules import SharedRise, important_direction


@singledispatch
def path_of(method: Any) -> Path:
    """The path that an attribution method integrates along.

    Register a function for a class of your own, and `IDGI` takes its instances.

    Raises:
        TypeError: for a method whose class is not registered, or a class instead of a method.
        ValueError: for Captum's IntegratedGradients with ``multiply_by_inputs=False``.

    >>> path_of(IntegratedGradients(lambda x: x.sum(1)))
    StraightLine()
    >>> class MyMethod:
    ...     def __init__(self, forward_func):
    ...         self.forward_func = forward_func
    >>> @path_of.register
    ... def _(method: MyMethod):
    ...     return StraightLine()
    >>> IDGI(MyMethod(lambda x: x.sum(1))).path
    StraightLine()
    """
    got = type(method).__name__
    if isinstance(method, type):
        got = f"the class {method.__name__}: make one, as {method.__name__}(model)"
    raise TypeError(
        f"`method` must integrate along a path: Captum's IntegratedGradients, GuidedIG, BlurIG, "
        f"PathAttribution, or a class registered with @path_of.register, "
        f"but got {got}."
    )


@path_of.register
def _(method: IntegratedGradients) -> Path:
    if not method.multiplies_by_inputs:
        # Its maps are mean gradients, which add up to no rise that could be shared out.
        raise ValueError(
            "`method` is made with multiply_by_inputs=False, but what is put over it shares out "
            "the rise of the model's output: leave the argument away."
        )
    return StraightLine()


@path_of.register
def _(method: PathAttribution) -> Path:
    return method.path


class OverMethod(PathAttribution):
    """A rule of its own over the path, placement and number of steps of another method."""

    over_rule: ClassVar[SharedRise]

    def __init__(self, method: Any, placement: Placement | None = None) -> None:
        """As the class says."""
        path = path_of(method)
        if placement is None and isinstance(method, PathAttribution):
            placement = method.placement
        super().__init__(method.forward_func, path, self.over_rule, placement)
        self.default_steps = getattr(method, "default_steps", self.default_steps)
        self.default_placement = getattr(method, "default_placement", self.default_placement)


class IDGI(OverMethod):
    """Important Direction Gradient Integration (Yang, Wang and Bilgic, CVPR 2023).

    Keeps a method's path and shares out each step's rise in the model's output by squared
    gradient (arXiv:2303.14242, algorithm 1): attributions sum to the rise over the whole path
    for any number of steps. Over Captum's IntegratedGradients it walks the straight line in
    equal steps, whatever the quadrature. Costs one forward pass more than the method it is over.

    Args:
        method: Captum's IntegratedGradients, `GuidedIG`, `BlurIG`, `PathAttribution`, or an
            instance of a class registered with `path_of`.
        placement: where the steps are on a path that is known beforehand; None for those of the
            method.

    Raises:
        TypeError: for a method without a path.
        ValueError: for a placement over `GuidedIG`, which finds its own points.

    >>> import torch
    >>> method = IDGI(IntegratedGradients(lambda x: (x**2).sum(1)))
    >>> method.attribute(torch.tensor([[3.0, 1.0]]), n_steps=10)
    tensor([[9., 1.]])
    """

    over_rule = important_direction
