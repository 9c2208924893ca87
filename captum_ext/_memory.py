"""How many rows one model call takes: chosen by the library, halved where memory runs out."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from captum_ext._text import number_of
from captum_ext._typing import Forward, Tensors

Answer = TypeVar("Answer")

# Elements of input that one model call takes when the caller leaves the choice to the library:
# 8 (CPU, where larger ones leave the cache) or 64 photographs of 3 x 224 x 224.
_ELEMENTS_PER_CALL = {"cpu": 8 * 3 * 224 * 224}
_ELEMENTS_PER_CALL_ELSEWHERE = 64 * 3 * 224 * 224
_MOST_ROWS_PER_CALL = 1024
# What a gradient keeps of one element of input: 21 GB of 64 photographs in ConvNeXt-L, the dearest
# of the networks measured (ResNet-50: 5 GB).
_BYTES_PER_ELEMENT = 2200

# Elements per call that memory held, of models that it did not hold as many of as was tried.
_FOUND: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


class Halvable(int):
    """A number of rows that the library chose; a size that a user gave is kept to."""


def default_chunk(inputs: Tensors) -> Halvable:
    """How many examples one model call takes unless the caller says otherwise.

    Bounded by elements of input and by free memory, where the device tells it, whatever the batch:
    64 photographs by 8 take EfficientNet-Lite0 on a CPU two thirds of the time of all at once.
    """
    device = inputs[0].device
    budget = _ELEMENTS_PER_CALL.get(device.type, _ELEMENTS_PER_CALL_ELSEWHERE)
    if device.type == "cuda":
        budget = min(budget, _free_bytes(device) // _BYTES_PER_ELEMENT)
    return Halvable(max(min(_MOST_ROWS_PER_CALL, budget // _per_row(inputs)), 1))


def _per_row(inputs: Tensors) -> int:
    return max(1, sum(x[0].numel() for x in inputs))


def _free_bytes(device: torch.device) -> int:
    """Free on the device, and held by torch without need."""
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + held


class Chunk:
    """The rows of one model call, halved for good where a call runs out of memory.

    What a model was found to hold is remembered as long as the model lives, so that the next
    batch starts there.

    Args:
        rows: to begin with; halved only if `Halvable`.
        inputs: the examples, which say how much a row is.
        forward_func: the model.
    """

    def __init__(self, rows: int, inputs: Tensors, forward_func: Forward) -> None:
        self.halvable = isinstance(rows, Halvable)
        self._model, self._per_row = module_of(forward_func), _per_row(inputs)
        self._kind = inputs[0].device.type
        self._asking = self._halved = False
        if self.halvable:
            rows *= _n_devices(self._model)
        found: int | None = None
        with suppress(TypeError):
            found = _FOUND.get(self._model)
        if found is not None and self.halvable:
            rows = min(rows, max(1, found // self._per_row))
        self.rows = int(rows)

    def calls(self, n_rows: int, ask: Callable[[slice], Answer]) -> list[Answer]:
        """What ``ask`` gives for one slice of ``n_rows`` after the other, as many as fit at once.

        Asked from within ``ask``, it leaves all rows in one call: the outer loop alone divides.
        """
        if self._asking:
            return [ask(slice(0, n_rows))]
        answers: list[Answer] = []
        first = 0
        while first < n_rows or not answers:
            part = slice(first, min(first + self.rows, n_rows))
            try:
                with self._inside():
                    answers.append(ask(part))
                first = part.stop
                self._say()
                continue
            except RuntimeError as error:
                if not (self.halvable and part.stop - first > 1 and is_out_of_memory(error)):
                    raise
            # Outside of the handler, whose error holds on to what the call had made.
            self._halve(part.stop - first)
        return answers

    def fitted(self, least: int, ask: Callable[[int], Answer]) -> Answer:
        """What ``ask`` gives for a number of rows, asked again with half, but not below ``least``.

        For what divides its calls by itself, such as Captum's methods.
        """
        while True:
            try:
                answer = ask(self.rows)
                self._say()
                return answer
            except RuntimeError as error:
                if not (self.halvable and self.rows > least and is_out_of_memory(error)):
                    raise
            self._halve(max(self.rows, 2 * least))

    @contextmanager
    def _inside(self) -> Iterator[None]:
        self._asking = True
        try:
            yield
        finally:
            self._asking = False

    def _halve(self, rows: int) -> None:
        if self._kind in ("cuda", "mps", "xpu"):
            gc.collect()
            getattr(torch, self._kind).empty_cache()
        self.rows, self._halved = rows // 2, True

    def _say(self) -> None:
        if not self._halved:
            return
        self._halved = False
        with suppress(TypeError):  # a callable without a hash or without weak references
            _FOUND[self._model] = self.rows * self._per_row
        warnings.warn(
            f"out of memory: from here on a model call takes {number_of(self.rows, 'row')}, which "
            f"changes no result. Pass `internal_batch_size={self.rows}` (RISE: "
            "`perturbations_per_eval`) or smaller inputs to begin there.",
            stacklevel=2,
        )


_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


def is_out_of_memory(error: Exception) -> bool:
    """Of any device: CUDA has a class of its own, MPS, the CPU and cuBLAS only words."""
    return isinstance(error, RuntimeError) and (
        isinstance(error, torch.OutOfMemoryError) or any(w in str(error) for w in _WORDS)
    )


def module_of(forward_func: Forward | None) -> Any:
    """What a model is, where one of its methods is given, or what wraps either."""
    found = getattr(forward_func, "__self__", forward_func)
    inner = getattr(found, "_orig_mod", None) if isinstance(found, nn.Module) else None
    return found if inner is None else module_of(inner)


def _n_devices(model: Any) -> int:
    """Over how many devices calls are divided, as `nn.DataParallel` does."""
    parts = model.modules() if isinstance(model, nn.Module) else ()
    return max((len(m.device_ids) for m in parts if isinstance(m, nn.DataParallel)), default=1) or 1


class Frozen:
    """Parameters of a module that ask for no gradient for a while, and afterwards as before.

    A graph of parameters keeps the inputs of every linear layer: transformers take 1.3 to 1.9
    times the memory.

    >>> layer = nn.Linear(1, 1)
    >>> with Frozen(layer):
    ...     print(layer.weight.requires_grad)
    False
    >>> layer.weight.requires_grad
    True
    """

    def __init__(self, forward_func: Forward | None) -> None:
        module = module_of(forward_func)
        self._all = list(module.parameters()) if isinstance(module, nn.Module) else []
        self._held: list[nn.Parameter] = []

    def __enter__(self) -> Frozen:
        # What is lazy or of inference mode could not be put back.
        self._held = [
            p for p in self._all
            if p.requires_grad and p.is_leaf and not (is_lazy(p) or p.is_inference())
        ]  # fmt: skip
        for p in self._held:
            p.requires_grad_(False)
        return self

    def __exit__(self, *error: object) -> None:
        self.thaw()

    def thaw(self) -> bool:
        """Gives gradients back to the parameters; whether any had lost them."""
        held, self._held = self._held, []
        for p in held:
            p.requires_grad_()
        return bool(held)
