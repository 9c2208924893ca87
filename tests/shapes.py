"""Shapes in the signatures of mask/ and curve/, checked at every call that a test makes.

`Shaped[Tensor, "M cells"]` is `typing.Annotated` and costs users nothing. Here jaxtyping reads it:
equal letters within one signature are equal numbers, so that M values and N values never meet, and
broadcast, where only one of them is meant.
"""

import functools
import importlib
import inspect
import pkgutil
import sys
from dataclasses import is_dataclass
from types import FunctionType, NoneType, UnionType
from typing import Annotated, Union, get_args, get_origin, get_type_hints

import jaxtyping
import numpy as np
from torch import Tensor

ROOMS = ["captum_ext.mask", "captum_ext.curve"]


def install():
    """Lets every function and record of the rooms check its shapes from now on."""
    found = [name for room in ROOMS for name in _modules(room)]
    for module in map(importlib.import_module, found):
        for thing in list(vars(module).values()):
            if getattr(thing, "__module__", None) != module.__name__:
                continue
            if inspect.isclass(thing):
                for name, part in list(vars(thing).items()):
                    if inspect.isfunction(part) and (name != "__init__" or is_dataclass(thing)):
                        setattr(thing, name, checked(part))
            elif inspect.isfunction(thing):
                _replace(thing, checked(thing))


def checked(function):
    """The function, which raises where tensors that went in or came out have other shapes."""
    hints = get_type_hints(function, include_extras=True)
    hints = {name: hint for name, hint in hints.items() if "Annotated" in repr(hint)}
    if not hints:
        return function
    names = tuple(inspect.signature(function).parameters)
    check, context = _check, jaxtyping.jaxtyped

    # Afterwards, since what is public refuses wrong shapes in words of its own.
    def call(*args, **kwargs):
        given = function(*args, **kwargs)
        with context("context"):
            for name, value in (*zip(names, args), *kwargs.items(), ("return", given)):  # noqa: B905
                if name in hints:
                    check(value, hints[name], f"{function.__qualname__}: {name}")
        return given

    # With the globals of its module, by which doctest tells whose examples are whose.
    code, cells = call.__code__, call.__closure__
    same = FunctionType(code, function.__globals__, function.__name__, None, cells)
    return functools.update_wrapper(same, function)


def _check(value, hint, where):
    parts = get_args(hint)
    if get_origin(hint) is Annotated:
        base = get_origin(parts[0]) or parts[0]
        kind = _kind(np.ndarray if base is np.ndarray else Tensor, parts[1])
        for one in value if isinstance(value, tuple) else (value,):
            assert isinstance(one, kind), f"{where} is {tuple(one.shape)}, not ({parts[1]})"
    elif get_origin(hint) in (Union, UnionType):
        (one,) = (part for part in parts if part is not NoneType)
        if value is not None:
            _check(value, one, where)
    elif get_origin(hint) is tuple:
        for one, part in zip(value, parts, strict=True):
            _check(one, part, where)


@functools.cache
def _kind(array, shape):
    return jaxtyping.Shaped[array, shape]


def _modules(room):
    path = importlib.import_module(room).__path__
    return [room, *(f"{room}.{found.name}" for found in pkgutil.iter_modules(path))]


def _replace(old, new):
    """Also where it was imported by name."""
    for name, module in list(sys.modules.items()):
        if name.startswith("captum_ext"):
            for place in [key for key, thing in vars(module).items() if thing is old]:
                setattr(module, place, new)
