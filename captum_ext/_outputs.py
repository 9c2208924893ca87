"""What a model returns: where its logits are, and whether they are logits at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from captum_ext._text import number_of

Output = str | int | None
# What gives probabilities; the second of a pair writes over its input.
_SQUASHING = {
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
    "_softmax": "softmax",
    "softmax": "softmax",
}
# What gives the same numbers in other memory.
_COPYING = {"clone", "_to_copy", "contiguous"}


def chosen(made: Any, output: Output) -> Any:
    """The part of a model's output that is named, or what is known to hold its logits.

    Args:
        made: a tensor, or what holds some: a mapping, an object, a tuple.
        output: a key or an attribute; a place in a tuple; None for the output itself, or its
            ``logits``.

    Raises:
        ValueError: if there is no such part.

    >>> chosen({"cat": 1, "logits": 2}, None), chosen({"cat": 1}, "cat"), chosen((1, 2), 1)
    (2, 1, 2)
    """
    if output is None:
        if isinstance(made, Mapping):
            return made.get("logits", made)
        return getattr(made, "logits", made)
    try:
        if isinstance(output, str) and not isinstance(made, Mapping):
            return getattr(made, output)
        return made[output]
    except (LookupError, AttributeError, TypeError):
        raise ValueError(
            f"`output` {output!r} is no part of what `model` returns, {_described(made)}."
        ) from None


def logits_of(made: Any, n: int, output: Output = None) -> Tensor:
    """The logits in a model's output, (N, classes, ...).

    Raises:
        TypeError: if what is there is no tensor of floating point.
        ValueError: if there is no such part, or it has no row per image.
    """
    logits = chosen(made, output)
    if not isinstance(logits, Tensor):
        raise TypeError(
            "`model` must return a tensor of logits (N, classes), or an object that holds one as "
            f"`logits`, but gave {_described(made)}: say with `output=` which part it is, or wrap "
            "the model in an nn.Module that returns the tensor."
        )
    if not logits.is_floating_point():
        raise TypeError(
            f"`model` must return logits of floating point, but gave {logits.dtype}: return the "
            "scores of classes, not the number of one."
        )
    # One logit per image, also where a `squeeze` took the batch dimension of a single image.
    if logits.dim() < 2 and logits.numel() == n:
        return logits.reshape(n, 1)
    if logits.dim() < 2 or logits.shape[0] != n:
        raise ValueError(
            f"`model` must return logits (N, classes) with a row per image, but gave shape "
            f"{tuple(logits.shape)} for {number_of(n, 'image')}."
        )
    return logits


def _described(made: Any) -> str:
    kind = type(made).__name__
    if isinstance(made, Mapping):
        return f"a {kind} of {', '.join(map(repr, [*made][:5]))}"
    return f"a {kind} of {len(made)}" if isinstance(made, tuple | list) else kind


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the last probabilities that are made within; a view of them is of the same memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = ""
        # Kept, so that its memory is not used again.
        self.made: Any = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in _SQUASHING:
            self.name, self.made = _SQUASHING[name], made
        elif name in _COPYING and self.holds(args[0]):
            self.made = made
        return made

    def holds(self, tensor: Any) -> bool:
        """Whether a tensor is of the memory of what was noted."""
        if not isinstance(tensor, Tensor) or not isinstance(self.made, Tensor):
            return False
        if tensor is self.made:
            return True
        places = [t.untyped_storage().data_ptr() for t in (tensor, self.made) if not t.is_meta]
        return len(places) == 2 and places[0] == places[1] != 0


def watched(model: Callable[[Tensor], Any], images: Tensor, activation: str, output: Output) -> Any:
    """The model's output, refused if it is probabilities already.

    A softmax of probabilities looks like probabilities: every number that came of it would look
    right. So the operations of one call are watched for what its output comes from, and a sum
    of 1 in every row tells those that were made otherwise.

    Raises:
        ValueError: if a sigmoid or softmax made the logits, or they sum to 1.
    """
    with _Watch() as watch:
        made = model(images)
    logits = chosen(made, output)
    if isinstance(logits, Tensor) and logits.is_floating_point():
        own = watch.name if watch.holds(logits) else ""
        if own or (activation == "softmax" and _sums_to_one(logits)):
            raise ValueError(
                f'`activation` "{activation}" is for logits, but `model` '
                + (f"ends with a {own} itself" if own else "gives rows that sum to 1")
                + ": give activation=None, which leaves its probabilities as they are."
            )
    return made


def _sums_to_one(logits: Tensor) -> bool:
    if logits.dim() != 2 or logits.shape[1] < 2 or logits.is_meta or not len(logits):
        return False
    rows = logits.detach().to("cpu").double()
    # Tight, as small logits may come near by chance.
    return bool(((rows.sum(1) - 1).abs() <= 1e-6).all() and (rows >= 0).all())


def may_watch(module: Any) -> bool:
    """Whether a call can be watched: not while it is traced, nor in a copy for one device."""
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore
    return not traced and not getattr(module, "_is_replica", False)


@contextmanager
def told_misfits(model: Any, inputs: Sequence[Tensor]) -> Iterator[None]:
    """Says of a call that fails as types or an export's shapes differ what to do, in a sentence.

    Args:
        model: that is asked within.
        inputs: that it is given.

    Raises:
        ValueError: instead of torch's own words, where these are known.

    >>> with told_misfits(torch.nn.Linear(2, 1).double(), (torch.ones(1, 2),)):
    ...     torch.nn.Linear(2, 1).double()(torch.ones(1, 2))
    Traceback (most recent call last):
    ...
    ValueError: the model's parameters are torch.float64 and its inputs torch.float32 (mat1 and ...
    """
    try:
        yield
    except (RuntimeError, AssertionError, IndexError) as error:
        # No `reason` of ours is wrapped again, and no memory that ran out is taken for one.
        said = str(error).partition("\n")[0].rstrip(".")
        parameters = model.parameters() if isinstance(model, nn.Module) else ()
        types = {p.dtype for p in parameters if p.is_floating_point()}
        given = {x.dtype for x in inputs if x.is_floating_point()}
        counted = {x.dtype for x in inputs} - given
        if "Guard failed" in said or "Expected input at" in said:  # before torch 2.9
            raise ValueError(
                f"the model was exported for inputs of one shape ({said}): export it with "
                "`dynamic_shapes` for the batch, or ask for as many rows at a time as it has. "
                "Where it is of one row: `internal_batch_size=1` (of RISE "
                "`perturbations_per_eval=1`) and one example; in `evaluate` `batch_size=1` too, in "
                "the commands --batch-size 1 (--group 1)."
            ) from error
        if len(types) == len(given) == 1 and types != given and "type" in said:
            own, other = *types, *given
            raise ValueError(
                f"the model's parameters are {own} and its inputs {other} ({said}): give "
                f"`model.to({other})`, or inputs of {own}."
            ) from error
        if len(types) == 1 and counted and not given and "type" in said:
            (own,) = types
            raise ValueError(
                f"the model's parameters are {own} and its inputs {', '.join(map(str, counted))} "
                f"({said}): give inputs of {own}, of images `images.float() / 255`."
            ) from error
        if inputs and _may_lack_batch(inputs) and any(words in said for words in _OF_SHAPES):
            shapes = ", ".join(str(("N", *x.shape[1:])).replace("'", "") for x in inputs)
            raise ValueError(
                f"the model can't take inputs of shape {shapes} ({said}), of which the first "
                "dimension counts examples: if it is a single example, give `inputs[None]`."
            ) from error
        raise


# What torch says of shapes that don't fit, in layers and in dimensions that are not there.
_OF_SHAPES = (
    "shapes cannot be multiplied",
    "size mismatch",
    "must match",
    "expected input",
    "Expected ",
    "expected ",
    "Dimension out of range",
    "has inconsistent tensor size",
    "too many indices",
)


def _may_lack_batch(inputs: Sequence[Tensor]) -> bool:
    """Whether all may be one example without a dimension before it: an image, a row of a table."""
    return all(x.dim() in (1, 3) for x in inputs)
