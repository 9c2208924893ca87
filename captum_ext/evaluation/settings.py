"""What decides the numbers of a run: checked, described, and compared on resuming."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import captum
import torch
import torchmetrics
import torchvision
from torch import Tensor, nn
from torchmetrics import Metric

from captum_ext._captum import Attribution
from captum_ext._typing import Forward
from captum_ext.attr.configured import Configured
from captum_ext.evaluation.data import Data, count

_OFFERED = {"inputs", "target", "self"}
_DEPTH = 4


def check(
    forward_func: Forward,
    data: Data,
    methods: Mapping[str, Attribution],
    metrics: Mapping[str, Metric],
    batch_size: int,
    internal_batch_size: int | None,
    names: Sequence[str] | None,
) -> None:
    """Raises ValueError or TypeError for arguments of `evaluate` that can't work."""
    if not callable(forward_func):
        raise TypeError(f"`forward_func` must be callable, but got {type(forward_func).__name__}.")
    if isinstance(forward_func, nn.Module) and forward_func.training:
        raise ValueError(
            "`forward_func` is in training mode, where examples of a batch affect each other: "
            "call `forward_func.eval()` first."
        )
    for label, value in (("batch_size", batch_size), ("internal_batch_size", internal_batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"`{label}` counts examples, at least 1, but got {value}.")
    n = count(data)
    if n == 0:
        raise ValueError("`data` holds no example.")
    if names is not None and n is not None and len(names) != n:
        raise ValueError(f"`names` needs one name per example, {n}, but got {len(names)}.")
    _check_methods(methods)
    for name, metric in metrics.items():
        if not isinstance(metric, Metric):
            raise TypeError(
                f"`metrics` are torchmetrics metrics, as captum_ext.metrics has them, but "
                f"{name!r} is {type(metric).__name__}."
            )


def _check_methods(methods: Mapping[str, Attribution]) -> None:
    if not methods:
        raise ValueError("`methods` needs at least one attribution method.")
    for name, method in methods.items():
        if not isinstance(method, Attribution):
            raise TypeError(
                f"`methods` are attribution methods bound to the model, but {name!r} is "
                f"{type(method).__name__}."
            )
        chosen = method.options if isinstance(method, Configured) else {}
        inner = method.method if isinstance(method, Configured) else method
        needed = [
            key
            for key, parameter in signature(inner.attribute).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            and key not in _OFFERED
            and key not in chosen
        ]
        if needed:
            raise ValueError(
                f"`methods`: {name!r} needs {needed}: wrap it as captum_ext.attr.Configured"
                f"(method, {needed[0]}=...)."
            )


def settings_of(
    forward_func: Forward,
    methods: Mapping[str, Attribution],
    metrics: Mapping[str, Metric],
    batch_size: int,
    seed: int,
    only_correct: bool,
    more: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Everything that decides the numbers, as JSON can hold it."""
    return {
        "model": digest_of(forward_func),
        "methods": {name: described(method) for name, method in methods.items()},
        "metrics": {name: protocol_of(metric) for name, metric in metrics.items()},
        "batch_size": batch_size,
        "seed": seed,
        "only_correct": only_correct,
        **(more or {}),
        "versions": versions(),
    }


def protocol_of(metric: Metric) -> dict[str, Any]:
    """A metric's own account of what decides its number."""
    protocol = getattr(metric, "protocol", None)
    return dict(protocol) if isinstance(protocol, Mapping) else {"metric": type(metric).__name__}


def versions() -> dict[str, str]:
    """The versions of what computes."""
    from captum_ext import __version__

    return {
        "captum_ext": __version__,
        "captum": captum.__version__,
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "torchmetrics": torchmetrics.__version__,
        "python": platform.python_version(),
    }


def digest_of(forward_func: Forward) -> str:
    """A model's type and a digest of its weights; a function's name.

    >>> digest_of(nn.ReLU())[:5], digest_of(digest_of)
    ('ReLU ', 'digest_of')
    """
    if not isinstance(forward_func, nn.Module):
        return getattr(forward_func, "__qualname__", type(forward_func).__name__)
    seen = hashlib.sha256()
    for key, value in forward_func.state_dict().items():
        seen.update(key.encode())
        if isinstance(value, Tensor) and value.numel():
            flat = value.detach().cpu().contiguous().view(-1)
            seen.update(flat.view(torch.uint8).numpy().tobytes())
    return f"{type(forward_func).__name__} {seen.hexdigest()[:12]}"


def described(value: Any, depth: int = _DEPTH) -> Any:
    """An object by its type and the plain settings it holds.

    >>> from captum.attr import Saliency
    >>> described(Saliency(len))
    'Saliency'
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): described(v, depth - 1) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [described(v, depth - 1) for v in value]
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)}"
    kind = getattr(value, "__qualname__", None) or type(value).__name__
    if depth <= 0 or (callable(value) and not isinstance(value, Attribution)):
        held = _held(value) if is_dataclass(value) and depth > 0 else {}
    else:
        held = _held(value)
    held = {k: described(v, depth - 1) for k, v in held.items()}
    return {kind: held} if held else kind


def _held(value: Any) -> dict[str, Any]:
    if isinstance(value, nn.Module | type | Path):
        return {}
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    hidden = {"forward_func", "model", "gradient_func", "layer", "use_weights"}
    return {k: v for k, v in getattr(value, "__dict__", {}).items()
            if k not in hidden and not k.startswith("_")}  # fmt: skip
