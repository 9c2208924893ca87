"""Numbers that a caller gives, refused by their names where they are none of their kind."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from numbers import Real
from operator import index
from typing import Any

from torch import Tensor


def whole(name: str, number: Any) -> int:
    """An argument that counts something, also as a number of NumPy's or torch's.

    Raises:
        TypeError: for what is no whole number: 2.5 steps would be some other number of them.

    >>> import numpy as np
    >>> import torch
    >>> whole("n_steps", np.int64(5)), whole("n_steps", torch.tensor(5))
    (5, 5)
    >>> whole("n_steps", 5.0)
    Traceback (most recent call last):
    ...
    TypeError: `n_steps` is a whole number, but got 5.0: use `int`.
    """
    try:
        if not isinstance(number, bool):
            return index(number)
    except TypeError:
        pass
    raise TypeError(f"`{name}` is a whole number, but got {number!r}: use `int`.")


def real(name: str, number: Any) -> float:
    """An argument that is a number, also one of NumPy's or torch's.

    Raises:
        TypeError: for what is none.
        ValueError: for nan, which no comparison refuses.

    >>> import numpy as np
    >>> import torch
    >>> real("fraction", np.float32(0.5)), real("fraction", torch.tensor(1))
    (0.5, 1.0)
    >>> real("fraction", "half")
    Traceback (most recent call last):
    ...
    TypeError: `fraction` is a number, but got 'half'.
    """
    one = isinstance(number, Tensor) and number.numel() == 1 and not number.is_complex()
    if not (one or isinstance(number, Real)) or isinstance(number, bool):
        raise TypeError(f"`{name}` is a number, but got {number!r}.")
    found = float(number)
    if found != found:
        raise ValueError(f"`{name}` is a number, but got nan.")
    return found


def at_least_zero(name: str, number: Any) -> float:
    """A finite number of at least 0.

    >>> at_least_zero("tv_weight", -1)
    Traceback (most recent call last):
    ...
    ValueError: `tv_weight` is a finite number of at least 0, but got -1.
    """
    found = real(name, number)
    if not 0 <= found < float("inf"):
        raise ValueError(f"`{name}` is a finite number of at least 0, but got {number}.")
    return found


def rising(name: str, numbers: Any, low: float, high: float, hint: str = ".") -> tuple[float, ...]:
    """Numbers between two others, each above the one before it; ``hint`` ends the refusal.

    >>> rising("shares", [0.1, 0.5], 0, 1)
    (0.1, 0.5)
    >>> rising("shares", 0.5, 0, 1)
    Traceback (most recent call last):
    ...
    TypeError: `shares` is a list of numbers, but got 0.5.
    """
    if isinstance(numbers, str | bytes | Mapping) or not hasattr(numbers, "__len__"):
        raise TypeError(f"`{name}` is a list of numbers, but got {numbers!r}.")
    found = [real(name, number) for number in numbers]
    if not found or any(not a < b for a, b in pairwise([low, *found, high])):
        raise ValueError(f"`{name}` rise between {low:g} and {high:g}, but got {[*numbers]}{hint}")
    return tuple(numbers)


def pair(name: str, size: Any) -> tuple[int, int]:
    """Height and width, of two whole numbers or of one for both.

    Raises:
        TypeError: for what is neither.

    >>> pair("mask_size", 28), pair("mask_size", (7, 14))
    ((28, 28), (7, 14))
    """
    two = (size, size) if not isinstance(size, (tuple, list)) or len(size) != 2 else size
    height, width = (whole(name, number) for number in two)
    return height, width
