"""What comes in and goes out, checked; the widest type that a device adds in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_ext._text import number_of
from captum_ext._typing import Baselines, Form, Inputs, Tensors


def accumulation_dtype(device: torch.device) -> torch.dtype:
    """The widest floating type the device can add in: float64, on MPS float32."""
    return torch.float32 if device.type == "mps" else torch.float64


def moved(x: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The tensor on a device in a type, changed where both types exist: MPS has no float64.

    >>> moved(torch.ones(1), torch.device("cpu"), torch.float64)
    tensor([1.], dtype=torch.float64)
    """
    return x.to(device).to(dtype) if x.device.type == "mps" else x.to(dtype).to(device)


def sent(values: Any, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Numbers of the host on a device in a type, without waiting for what the device is at.

    >>> sent([1, 2], torch.device("cpu"), torch.float32)
    tensor([1., 2.])
    """
    there = torch.as_tensor(values).to("cpu", dtype)
    # Only from pinned memory does CUDA copy on its own; torch keeps it until that is done.
    there = there.pin_memory() if device.type == "cuda" else there
    return there.to(device, non_blocking=True)


@contextmanager
def without_autocast(device: torch.device) -> Iterator[None]:
    """Arithmetic in the types that tensors have, whatever the caller's autocast."""
    with ExitStack() as stack:
        for kind in {"cpu", device.type}:
            # Asked before, as CUDA's context warns where there is no CUDA.
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def asked(*counts: Tensor) -> list[int]:
    """Numbers or flags that lie on a device, each of one element, for one stall in all.

    >>> asked(torch.tensor(True), torch.tensor(3))
    [1, 3]
    """
    return torch.stack([c.long().to(counts[0].device) for c in counts]).tolist() if counts else []


def numbers(chosen: Tensor, count: int) -> Tensor:
    """The places of a mask, (M,), of which it is known how many there are; nobody is asked.

    >>> numbers(torch.tensor([False, True, True]), 2)
    tensor([1, 2])
    """
    return (~chosen).int().argsort(stable=True)[:count]


def format_inputs(inputs: Inputs, needs_gradient: bool = True) -> Tensors:
    """Copies of the tensors of `inputs` as a tuple, checked: finite, one batch size.

    Integers, such as the ids of tokens, pass only where no gradient is needed.
    """
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    if not tensors or not all(isinstance(x, Tensor) for x in tensors):
        kinds = ", ".join(type(x).__name__ for x in tensors)
        raise TypeError(f"`inputs` is a tensor or a tuple of tensors, but got ({kinds}).")
    for x in tensors:
        if x.layout is not torch.strided or x.is_nested or x.is_meta:
            what = "on the meta device" if x.is_meta else f"{x.layout}"
            raise TypeError(
                f"`inputs` are dense tensors that hold numbers, but got one that is {what}: "
                "use `.to_dense()`, or a device that holds numbers."
            )
        if x.is_complex() or (needs_gradient and not x.is_floating_point()):
            raise TypeError(
                f"`inputs` must be floating point to have gradients, but got {x.dtype} of shape "
                f"{tuple(x.shape)}: {_instead_of(x)}."
            )
        if x.dim() == 0 or x.shape[0] == 0 or x.numel() == 0:
            raise ValueError(
                f"`inputs` must hold at least one example, but got shape {tuple(x.shape)}: "
                "the first dimension counts examples."
            )
        if x.shape[0] != tensors[0].shape[0]:
            sizes = [t.shape[0] for t in tensors]
            raise ValueError(f"`inputs` must share one batch size, but got {sizes}.")
        if not torch.isfinite(x).all():
            raise ValueError("`inputs` must be finite, but got nan or inf: clean the data first.")
    # Also where the caller is in inference mode, whose tensors no graph may hold.
    with torch.inference_mode(False):
        return tuple(x.detach().clone() for x in tensors)


def _instead_of(x: Tensor) -> str:
    """What a caller with a tensor of no floating point should do."""
    if x.is_complex():
        return "give real and imaginary parts, as with `torch.view_as_real`"
    if x.dtype == torch.uint8 and x.dim() >= 3:
        return "convert images with `image.float() / 255`"
    return (
        "explain the embeddings of token ids, with AtLayer of captum_ext.attr, and "
        "convert numbers with `.float()`"
    )


def format_baselines(baselines: Baselines, inputs: Tensors) -> Tensors:
    """Baselines in the shape and type of the inputs, copied; `None` is zeros, as in Captum."""
    given = baselines if isinstance(baselines, tuple) else (baselines,) * len(inputs)
    if isinstance(baselines, Tensor) and len(inputs) > 1:
        given = (baselines,)
    if len(given) != len(inputs):
        raise ValueError(
            f"`baselines` needs one entry per input tensor, but got {len(given)} "
            f"for {number_of(len(inputs), 'input')}."
        )
    return tuple(_format_baseline(b, x) for b, x in zip(given, inputs, strict=True))


def _format_baseline(baseline: Any, x: Tensor) -> Tensor:
    if baseline is None:
        return torch.zeros_like(x)
    if isinstance(baseline, int | float):
        baseline = torch.tensor(baseline, device=x.device).expand_as(x)
    if not isinstance(baseline, Tensor):
        raise TypeError(
            f"`baselines` is made of tensors and numbers, but got {type(baseline).__name__}."
        )
    if baseline.shape != x.shape and baseline.shape != (1, *x.shape[1:]):
        raise ValueError(
            f"`baselines` must have the inputs' shape {tuple(x.shape)}, with a first dimension "
            f"of 1 or the batch size, but got {tuple(baseline.shape)}."
        )
    if not torch.isfinite(baseline).all():
        raise ValueError("`baselines` must be finite, but got nan or inf.")
    if not x.is_floating_point() and (baseline != baseline.to(x)).any():
        raise ValueError(
            f"`baselines` of inputs of type {x.dtype} must be numbers of that type, but got "
            f"{baseline.flatten()[0].item():g}, ..., of {baseline.dtype}."
        )
    return baseline.detach().to(x, copy=True).expand_as(x)


def format_output(tensors: Tensors, inputs: Form) -> Form:
    """A tensor if `inputs` was one, else a tuple; shaped, typed and laid out as the inputs.

    Attributions of integers are of torch's default type.
    """
    originals = inputs if isinstance(inputs, tuple) else (inputs,)
    kinds = (x.dtype if x.is_floating_point() else torch.get_default_dtype() for x in originals)
    trios = zip(tensors, originals, kinds, strict=True)
    formatted = tuple(t.detach().to(x.device, kind).contiguous() for t, x, kind in trios)
    return formatted if isinstance(inputs, tuple) else formatted[0]


def fresh(value: Any) -> Any:
    """A value whose tensors and arrays are copies, also within tuples, lists and dictionaries.

    >>> given = {"mask": torch.ones(2)}
    >>> fresh(given)["mask"].zero_(), given["mask"]
    (tensor([0., 0.]), tensor([1., 1.]))
    """
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(fresh(held) for held in value))
    if type(value) is tuple or type(value) is list:
        return type(value)(fresh(held) for held in value)
    if type(value) is dict:
        return {key: fresh(held) for key, held in value.items()}
    return value


def require_scores(output: Any, n_examples: int) -> Tensor:
    """A model's output as it is, if it can be read as scores.

    Raises:
        TypeError: if it is no tensor of floating point.
        ValueError: if it has not one row per example.

    >>> require_scores({"logits": torch.ones(1, 2)}, 1)
    Traceback (most recent call last):
    TypeError: ... such as `lambda *x: model(*x)["logits"]`.
    """
    if not isinstance(output, Tensor):
        kind, pick = _described(output)
        raise TypeError(
            f"`forward_func` must return a tensor of scores, but gave {kind}: explain a function "
            f"that {pick}."
        )
    if not output.is_floating_point():
        raise TypeError(
            f"`forward_func` must return scores of floating point, but gave {output.dtype}: "
            "explain probabilities or logits, not the number of a class."
        )
    if output.dim() == 0 or output.shape[0] != n_examples:
        raise ValueError(
            f"`forward_func` must return one row per example, but gave shape "
            f"{tuple(output.shape)} in a call of {number_of(n_examples, 'row')}, in which an "
            "example may stand at several points: a single example is given as `inputs[None]`."
        )
    return output


def _described(output: Any) -> tuple[str, str]:
    """What an output that is no tensor is, and how its scores are picked."""
    pick = "picks them, such as `lambda *x: model(*x){}`"
    name = type(output).__name__
    kind = f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
    named: Any = getattr(output, "_fields", None) or getattr(output, "__dataclass_fields__", ())
    fields = [field for field in ("logits", *named) if hasattr(output, field)]
    if fields:
        return kind, pick.format(f".{fields[0]}")
    if isinstance(output, Mapping) and output:
        keys = list(output)[:5]
        return f"{kind} with the keys {keys}", pick.format(f'["{keys[0]}"]')
    if isinstance(output, tuple | list) and output:
        return f"{kind} of {len(output)}", pick.format("[0]")
    if isinstance(output, np.ndarray):
        return "a NumPy array", "gives `torch.from_numpy` of it"
    return "None" if output is None else kind, "returns them as a tensor"
