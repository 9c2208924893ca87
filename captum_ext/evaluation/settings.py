"""What decides the numbers of a run: checked, described, and compared on resuming."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import captum
import numpy
import PIL
import scipy
import torch
import torchmetrics
import torchvision
from PIL import features
from torch import Tensor, nn
from torchmetrics import Metric

from captum_ext._captum import Attribution
from captum_ext._numbers import whole
from captum_ext._typing import Forward
from captum_ext.attr.configured import unwrapped
from captum_ext.classifier import is_exported
from captum_ext.evaluation.data.examples import Data, count
from captum_ext.evaluation.data.screening import device_of
from captum_ext.evaluation.store.about import About
from captum_ext.evaluation.store.identity import Identity, digest_of_source, version_of
from captum_ext.score import require_model

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
    require_model(forward_func)
    module = forward_func if isinstance(forward_func, nn.Module) else None
    if module is not None and module.training and not is_exported(module):
        raise ValueError(
            "`forward_func` is in training mode, where examples of a batch affect each other: "
            "call `forward_func.eval()` first."
        )
    for label, value in (("batch_size", batch_size), ("internal_batch_size", internal_batch_size)):
        if value is not None and whole(label, value) < 1:
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
        inner, chosen = unwrapped(method)
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


def about(
    forward_func: Forward,
    data: Data,
    methods: Mapping[str, Attribution],
    metrics: Mapping[str, Metric],
    batch_size: int,
    seed: int,
    only_correct: bool,
    more: Mapping[str, Any] | None,
) -> About:
    """Everything that decides the numbers of a run."""
    modules = forward_func.named_modules() if isinstance(forward_func, nn.Module) else []
    layers = [(module, f"layer {name}") for name, module in modules if name]
    identity = Identity([*layers, (forward_func, "the model")])
    model = identity.content(forward_func, "model")
    plain = {"batch_size": batch_size, "seed": seed, "only_correct": only_correct}
    content = {
        **plain,
        **{key: identity.of(value, key) for key, value in (more or {}).items()},
        "n_examples": count(data),
        "device": device_of(forward_func).type,
        "precision": precision(),
        "replaced": identity.replaced(),
        "model": model,
        "methods": {n: identity.of(method, f"methods.{n}") for n, method in methods.items()},
        "metrics": {n: identity.of(metric, f"metrics.{n}") for n, metric in metrics.items()},
        "versions": {**versions(), "captum_ext source": digest_of_source("captum_ext")},
    }
    others = {name: version_of(name) for name in identity.libraries}
    content["versions"] = {**others, **content["versions"]}
    text = json.dumps(model, sort_keys=True).encode()
    kind = getattr(forward_func, "__qualname__", None) or type(forward_func).__name__
    shown = {
        "model": f"{kind} {hashlib.sha256(text).hexdigest()[:12]}",
        "methods": {name: described(method) for name, method in methods.items()},
        "metrics": {name: protocol_of(metric) for name, metric in metrics.items()},
        **plain,
        **(more or {}),
        "versions": versions(),
    }
    return About(shown, content, identity.unknown)


def precision() -> dict[str, str]:
    """In what precision numbers are computed, as far as PyTorch's settings say it.

    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     precision()["autocast cpu"]
    'torch.bfloat16'
    """
    found = {"default dtype": str(torch.get_default_dtype()),
             "matmul": torch.get_float32_matmul_precision()}  # fmt: skip
    for kind in ("cpu", "cuda"):
        found[f"autocast {kind}"] = _autocast(kind)
    found["deterministic"] = str(torch.are_deterministic_algorithms_enabled())
    found["onednn"] = str(torch.backends.mkldnn.enabled)
    switches: dict[str, Any] = {
        "cudnn": torch.backends.cudnn,
        "cuda matmul": torch.backends.cuda.matmul,
    }
    for name, switch in switches.items():
        try:
            found[name] = "tf32" if switch.allow_tf32 else "ieee"
        except RuntimeError:
            # PyTorch refuses to say it in the old way once it was set in the new.
            found[name] = str(switch.fp32_precision)
    return found


def _autocast(kind: str) -> str:
    if hasattr(torch, "get_autocast_dtype"):
        return str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else "off"
    if kind == "cpu":
        return str(torch.get_autocast_cpu_dtype()) if torch.is_autocast_cpu_enabled() else "off"
    return str(torch.get_autocast_gpu_dtype()) if torch.is_autocast_enabled() else "off"


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
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "pillow": PIL.__version__,
        # They read pictures, and write those whose size measures information.
        **{name: str(features.version(name)) for name in ("jpg", "webp", "zlib")},
        "python": platform.python_version(),
    }


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
