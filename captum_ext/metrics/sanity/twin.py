"""`twin_of`: a copy of a model, whose weights may be changed."""

from __future__ import annotations

import copy
import gc
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from captum_ext._text import reason

_NEVER_COPIED = (type, ModuleType, FunctionType, BuiltinFunctionType, CodeType, FrameType)
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def twin_of(model: nn.Module) -> nn.Module:
    """A copy of a model, without wrappers, that shares nothing with it.

    What `torch.compile`, `DataParallel` and `DistributedDataParallel` wrap is copied without
    them, also inside the model: compiled code would not show which layers run, and names would
    depend on the wrapper. Activations that the model keeps become plain tensors.

    Raises:
        TypeError: if the model is traced or scripted, or can't be copied.

    >>> net = nn.Linear(2, 1)
    >>> net.last = net(torch.ones(1, 2))
    >>> twin = twin_of(nn.DataParallel(net))
    >>> type(twin).__name__, twin.last.requires_grad, twin.weight is net.weight
    ('Linear', False, False)
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise TypeError(
            "`model` is traced or scripted, so that its layers can't be told apart: give the "
            "module that it was made from."
        )
    # deepcopy refuses tensors of a graph, which many a model keeps from its last call.
    memo: dict[int, Any] = {id(t): t.detach().clone() for t in _tensors_of_a_graph(model)}
    try:
        # Inner ones first, so that the copy of an outer one finds theirs.
        for module in reversed([*model.modules()]):
            wrapped = _wrapped(module)
            if wrapped is not None:
                memo[id(module)] = copy.deepcopy(wrapped, memo)
        twin: nn.Module = copy.deepcopy(model, memo)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise TypeError(
            f"`model` must be a module that can be copied, but `copy.deepcopy` failed with "
            f"{reason(error, named=True)}"
        ) from error
    return twin


def require_parameters(model: object) -> None:
    """Refuses what has no weights that could change."""
    if not isinstance(model, nn.Module) or not any(True for _ in model.parameters()):
        raise TypeError(f"`model` is a module with parameters, but got {type(model).__name__}.")
    if any(isinstance(p, UninitializedParameter) for p in model.parameters()):
        raise ValueError(
            "`model` has lazy layers whose parameters have no values yet: run it once before."
        )


def _wrapped(module: nn.Module) -> nn.Module | None:
    """What a wrapper is around; None of every other module."""
    if isinstance(module, _WRAPPERS):
        return module.module
    # The one part of torch.compile's module.
    return module._modules.get("_orig_mod")


def _tensors_of_a_graph(model: nn.Module) -> list[Tensor]:
    """Those that can be reached from the model, wherever it keeps them."""
    seen, found, left = {id(model)}, [], [model]
    while left:
        one: Any = left.pop()
        if isinstance(one, Tensor) and not one.is_leaf:
            found.append(one)
        for other in gc.get_referents(one):
            if id(other) not in seen and not isinstance(other, _NEVER_COPIED):
                seen.add(id(other))
                left.append(other)
    return found
