"""The types that signatures share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias, TypeVar

from torch import Tensor

Forward: TypeAlias = Callable[..., Any]
"""A model or function from input tensors (and more arguments) to an output tensor."""

Tensors: TypeAlias = tuple[Tensor, ...]
"""The tensors that one model call takes, each with the examples along its first dimension."""

Inputs: TypeAlias = Tensor | Tensors
Form = TypeVar("Form", Tensor, Tensors, Inputs)
"""One tensor or a tuple, whichever was given: what comes back has the same form."""
Baselines: TypeAlias = Tensor | int | float | tuple[Tensor | int | float, ...] | None
Target: TypeAlias = int | tuple[int, ...] | Tensor | list[int] | list[tuple[int, ...]] | None
FeatureMask: TypeAlias = Tensor | Tensors | None

Rows: TypeAlias = Annotated[Tensor, "M"]
"""Whose each of M rows is: the numbers of examples."""
PerRow: TypeAlias = Annotated[Tensor, "M"]
"""One number for each of M rows."""
Masks: TypeAlias = Annotated[Tensor, "M masks cells"]
"""The masks of M examples; shapes are checked in the tests alone."""
