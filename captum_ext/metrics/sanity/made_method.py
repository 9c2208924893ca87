"""`explain`: the maps of a method that was made for a model, or one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from captum_ext._text import number_of, reason
from captum_ext._typing import Inputs, Target, Tensors

MakeMethod = Callable[[nn.Module], Any]


def explain(
    make_method: MakeMethod,
    model: nn.Module,
    inputs: Inputs,
    target: Target = None,
    additional_forward_args: Any = None,
) -> Tensor:
    """One map per example under a model; maps of several inputs are put side by side.

    The method gets copies of the data, since a model may write into them.

    Raises:
        TypeError: if the model gives no tensor, or the method no tensor per example.
        RuntimeError: if the method fails; what Captum's and this package's checks say stays.

    >>> from captum.attr import Saliency
    >>> explain(Saliency, nn.Linear(2, 1), torch.ones(3, 2)).shape
    torch.Size([3, 2])
    """
    named = {} if target is None else {"target": copies_of(target)}
    if additional_forward_args is not None:
        named["additional_forward_args"] = copies_of(additional_forward_args)
    # Captum turns on gradients of what it is given, and resets them.
    fresh = tuple(
        x.requires_grad_() if x.is_floating_point() else x for x in copies_of(as_tuple(inputs))
    )
    with _answers_of(model) as answers:
        try:
            method = make_method(model)
            maps = method.attribute(fresh if isinstance(inputs, tuple) else fresh[0], **named)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:
            _say_why(error, answers)
            raise
    return _one_map(maps, len(fresh[0]))


def copies_of(data: Any) -> Any:
    """The same data with tensors of its own."""
    return tree_map(lambda x: x.detach().clone() if isinstance(x, Tensor) else x, data)


def as_tuple(inputs: Inputs) -> Tensors:
    """The tensors of ``inputs``, checked for being some."""
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    if not tensors or not all(isinstance(x, Tensor) and x.dim() > 0 for x in tensors):
        kinds = ", ".join(type(x).__name__ for x in tensors)
        raise TypeError(
            f"`inputs` is a tensor (N, ...) or a tuple of such tensors, but got ({kinds})."
        )
    return tensors


@contextmanager
def _answers_of(model: nn.Module) -> Iterator[list[str]]:
    """Collects what else than tensors with rows the model gives."""
    answers: list[str] = []

    def note(_: object, __: object, answer: object) -> None:
        if not isinstance(answer, Tensor):
            answers.append(type(answer).__name__)
        elif answer.dim() == 0:
            answers.append("one number for all examples")

    handle = model.register_forward_hook(note) if isinstance(model, nn.Module) else None
    try:
        yield answers
    finally:
        if handle is not None:
            handle.remove()


def _say_why(error: Exception, answers: list[str]) -> None:
    if answers:
        raise TypeError(
            f"`model` must return a tensor, but gave {answers[0]}: let `make_method` pick the "
            "tensor to explain, as `lambda model: Saliency(lambda x: model(x)['logits'])`."
        ) from error
    checked = isinstance(error, ValueError | TypeError | AssertionError | ImportError)
    if checked and str(error) and _raised_in(error).startswith(("captum.", "captum_ext.")):
        return
    raise RuntimeError(
        f"The method that `make_method` makes fails with {reason(error, named=True)}"
    ) from error


def _raised_in(error: Exception) -> str:
    """The name of the Python module whose code raised an error."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return "" if place is None else str(place.tb_frame.f_globals.get("__name__", ""))


def _one_map(maps: Any, n_examples: int) -> Tensor:
    parts = maps if isinstance(maps, tuple) else (maps,)
    fits = [isinstance(m, Tensor) and m.dim() > 1 and len(m) == n_examples for m in parts]
    if not parts or not all(fits):
        got = [tuple(m.shape) if isinstance(m, Tensor) else type(m).__name__ for m in parts]
        raise TypeError(
            f"`make_method` must make a method whose `attribute` gives a map for each of "
            f"{number_of(n_examples, 'example')}, but got {', '.join(map(str, got)) or 'none'}."
        )
    parts = tuple(m.detach() for m in parts)
    return parts[0] if len(parts) == 1 else torch.cat([m.flatten(1) for m in parts], 1)
