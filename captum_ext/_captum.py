"""Captum's private helpers enter here alone; and `Score`, a model bound to a target."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from captum._utils.common import (
    _format_additional_forward_args,
    _run_forward,
    _select_targets,
)
from captum._utils.gradient import compute_gradients
from captum.attr import Attribution, GradientAttribution, PerturbationAttribution
from captum.log import log_usage
from torch import Tensor

from captum_ext._typing import Baselines, Forward, Inputs, Target, Tensors

__all__ = [
    "Attribution",
    "GradientAttribution",
    "PerturbationAttribution",
    "Score",
    "accumulation_dtype",
    "compute_gradients",
    "default_chunk",
    "format_baselines",
    "format_inputs",
    "format_output",
    "log_usage",
]

# Elements of input that one model call takes when the caller leaves the choice to the library:
# 8 (CPU, where larger ones leave the cache) or 64 photographs of 3 x 224 x 224.
_ELEMENTS_PER_CALL = {"cpu": 8 * 3 * 224 * 224}
_ELEMENTS_PER_CALL_ELSEWHERE = 64 * 3 * 224 * 224
_MOST_ROWS_PER_CALL = 1024


def accumulation_dtype(device: torch.device) -> torch.dtype:
    """The widest floating type the device can add in: float64, on MPS float32."""
    return torch.float32 if device.type == "mps" else torch.float64


def default_chunk(inputs: Tensors) -> int:
    """How many examples one model call takes unless the caller says otherwise.

    Bounded by elements of input, but never below the batch that the caller could hold.
    """
    batch = inputs[0].shape[0]
    elements = sum(x[0].numel() for x in inputs)
    budget = _ELEMENTS_PER_CALL.get(inputs[0].device.type, _ELEMENTS_PER_CALL_ELSEWHERE)
    return max(batch, min(_MOST_ROWS_PER_CALL, budget // max(1, elements)), 1)


def format_inputs(inputs: Inputs) -> Tensors:
    """The tensors of `inputs` as a tuple, checked: floating, finite, one batch size."""
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    if not tensors or not all(isinstance(x, Tensor) for x in tensors):
        kinds = ", ".join(type(x).__name__ for x in tensors)
        raise TypeError(f"`inputs` is a tensor or a tuple of tensors, but got ({kinds}).")
    for x in tensors:
        if not x.is_floating_point():
            raise TypeError(
                f"`inputs` must be floating point to have gradients, but got {x.dtype}: "
                "convert images with `image.float() / 255`."
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
    return tuple(x.detach() for x in tensors)


def format_baselines(baselines: Baselines, inputs: Tensors) -> Tensors:
    """Baselines in the shape of the inputs; `None` is zeros, as in Captum."""
    given = baselines if isinstance(baselines, tuple) else (baselines,) * len(inputs)
    if isinstance(baselines, Tensor) and len(inputs) > 1:
        given = (baselines,)
    if len(given) != len(inputs):
        raise ValueError(
            f"`baselines` needs one entry per input tensor, but got {len(given)} "
            f"for {len(inputs)} inputs."
        )
    return tuple(_format_baseline(b, x) for b, x in zip(given, inputs, strict=True))


def _format_baseline(baseline: Any, x: Tensor) -> Tensor:
    if baseline is None:
        return torch.zeros_like(x)
    if isinstance(baseline, int | float):
        return torch.full_like(x, baseline)
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
    return baseline.detach().to(x).expand_as(x)


def format_output(tensors: Tensors, inputs: Inputs) -> Any:
    """A tensor if `inputs` was one, else a tuple; shaped, typed and laid out as the inputs."""
    originals = inputs if isinstance(inputs, tuple) else (inputs,)
    pairs = zip(tensors, originals, strict=True)
    formatted = tuple(t.detach().to(x).contiguous() for t, x in pairs)
    return formatted if isinstance(inputs, tuple) else formatted[0]


class Score:
    """A model bound to a target: one number per example, and its gradient.

    Points come in any floating type and on any device; the model sees the type and device of
    ``inputs``, the gradient goes back in the type and device of the points. Values are in the
    widest type of the inputs' device. The model is called with at most ``chunk`` rows at once.

    Args:
        forward_func: the model or function that is explained.
        inputs: the examples, (N, ...); they say type, device and batch size.
        target: what of the output is explained, as in Captum.
        additional_forward_args: further arguments; a tensor with N rows follows its example.
        gradient_func: Captum's hook through which layer and neuron methods take gradients.
        chunk: rows per model call; None leaves it to `default_chunk`.

    >>> score = Score(lambda x: x**2, (torch.tensor([[1.0, 2.0], [3.0, 4.0]]),), target=1)
    >>> score((torch.tensor([[0.0, 5.0]]),), rows=torch.tensor([0]))
    tensor([25.], dtype=torch.float64)
    """

    def __init__(
        self,
        forward_func: Forward,
        inputs: Tensors,
        target: Target = None,
        additional_forward_args: Any = None,
        gradient_func: Callable[..., Tensors] = compute_gradients,
        chunk: int | None = None,
    ) -> None:
        if chunk is not None and chunk < 1:
            raise ValueError(
                f"`internal_batch_size` is the number of examples per model call, at least 1, "
                f"but got {chunk}."
            )
        self.forward_func = forward_func
        self.n_examples = inputs[0].shape[0]
        self.dtypes = tuple(x.dtype for x in inputs)
        self.device = inputs[0].device
        self.target = target
        self.additional_forward_args = _format_additional_forward_args(additional_forward_args)
        self.gradient_func = gradient_func
        self.chunk = chunk or default_chunk(inputs)
        _check_target_length(target, self.n_examples)

    def __call__(self, points: Tensors, rows: Tensor | None = None) -> Tensor:
        """The score of each point, (M,), without a graph; ``rows`` says whose point each is."""
        self._require_values()
        return torch.cat([self._value(*part) for part in self._chunks(points, rows)])

    def with_gradient(
        self, points: Tensors, rows: Tensor | None = None
    ) -> tuple[Tensor | None, Tensors]:
        """The score of each point, (M,), and its gradient, in the shape of the points.

        The score costs nothing more: it falls out of the gradient's forward pass. It is None
        under a replaced ``gradient_func``, whose gradient belongs to another number.
        """
        parts = [self._value_and_gradient(*part) for part in self._chunks(points, rows)]
        values = [value for value, _ in parts if value is not None]
        gradients = zip(*(gradient for _, gradient in parts), strict=True)
        return (
            torch.cat(values) if len(values) == len(parts) else None,
            tuple(torch.cat(g) for g in gradients),
        )

    def through(self, transform: Callable[[Tensor], Tensors], dtype: torch.dtype) -> Score:
        """The same score of ``transform(point)``: points of ``dtype`` and of any shape.

        A model that does not depend on its input has gradient zero here, not an error.

        >>> score = Score(lambda x: x.sum(1), (torch.zeros(1, 2),))
        >>> score.through(lambda p: (p**2,), torch.float32).with_gradient((torch.ones(1, 2),))
        (tensor([2.], dtype=torch.float64), (tensor([[2., 2.]]),))
        """

        def forward(point: Tensor, *arguments: Any) -> Any:
            moved = zip(transform(point), self.dtypes, strict=True)
            output = self.forward_func(*(x.to(d) for x, d in moved), *arguments)
            return _linked(output, point)

        composed = copy(self)
        composed.forward_func = forward
        composed.dtypes = (dtype,)
        return composed

    def _chunks(self, points: Tensors, rows: Tensor | None) -> list[tuple[Tensors, Tensor | None]]:
        m = points[0].shape[0]
        if rows is None:
            rows = torch.arange(m) if m > self.chunk else None
        if rows is None or m <= self.chunk:
            return [(points, rows)]
        starts = range(0, m, self.chunk)
        return [
            (tuple(p[i : i + self.chunk] for p in points), rows[i : i + self.chunk]) for i in starts
        ]

    def outputs(self, points: Tensors, rows: Tensor | None = None) -> Tensor:
        """The model's whole output for points that fit in one call, without a graph."""
        moved = self._to_model(points)
        with torch.no_grad():
            return _run_forward(
                self._checked_forward(moved[0].shape[0]),
                moved,
                None,
                self._arguments_of(rows),
            )

    def _value(self, points: Tensors, rows: Tensor | None) -> Tensor:
        return self.select(self.outputs(points, rows), rows)

    def _value_and_gradient(
        self, points: Tensors, rows: Tensor | None
    ) -> tuple[Tensor | None, Tensors]:
        target = self._target_of(rows)
        leaves = tuple(p.requires_grad_() for p in self._to_model(points, copy=True))
        outputs: list[Tensor] = []
        gradients = self.gradient_func(
            forward_fn=self._checked_forward(leaves[0].shape[0], outputs),
            inputs=leaves,
            target_ind=target,
            additional_forward_args=self._arguments_of(rows),
        )
        value = self.select(outputs[0].detach(), rows) if self.knows_value else None
        return value, tuple(g.detach().to(p) for g, p in zip(gradients, points, strict=True))

    @property
    def knows_value(self) -> bool:
        """Whether the gradient is that of this score, not of a layer or neuron."""
        return self.gradient_func is compute_gradients

    def _require_values(self) -> None:
        if not self.knows_value:
            raise ValueError(
                "Within a layer or neuron method only gradients are known, but this rule or a "
                "convergence delta needs the model's values: use a rule that reads gradients "
                "alone, such as `riemann`."
            )

    def _to_model(self, points: Tensors, copy: bool = False) -> Tensors:
        pairs = zip(points, self.dtypes, strict=True)
        return tuple(p.detach().to(self.device, dtype, copy=copy) for p, dtype in pairs)

    def _checked_forward(self, n_rows: int, outputs: list[Tensor] | None = None) -> Forward:
        def forward(*args: Any) -> Any:
            output = self.forward_func(*args)
            if outputs is not None:
                outputs.append(output)
            _check_target(output, self.target)
            if output.dim() == 0 or output.shape[0] != n_rows:
                raise ValueError(
                    f"`forward_func` must return one row per example, but gave shape "
                    f"{tuple(output.shape)} for {n_rows} examples."
                )
            return output

        return forward

    def select(self, output: Tensor, rows: Tensor | None = None) -> Tensor:
        """The target's entry of each row of an output, (M,)."""
        selected = _select_targets(output, self._target_of(rows))
        if selected[0].numel() != 1:
            raise AssertionError(
                f"`target` must choose one output per example, but {self.target!r} leaves shape "
                f"{tuple(selected.shape)}: pass the class to explain."
            )
        return selected.reshape(-1).to(accumulation_dtype(self.device))

    def _target_of(self, rows: Tensor | None) -> Target:
        if rows is None:
            return self.target
        if isinstance(self.target, list):
            return [self.target[i] for i in rows.tolist()]
        if isinstance(self.target, Tensor) and self.target.numel() > 1:
            return self.target[rows.to(self.target.device)]
        return self.target

    def _arguments_of(self, rows: Tensor | None) -> tuple[Any, ...] | None:
        if rows is None or self.additional_forward_args is None:
            return self.additional_forward_args
        return tuple(self._argument_of(a, rows) for a in self.additional_forward_args)

    def _argument_of(self, argument: Any, rows: Tensor) -> Any:
        per_example = (
            isinstance(argument, Tensor)
            and argument.dim() > 0
            and argument.shape[0] == self.n_examples
        )
        return argument[rows.to(argument.device)] if per_example else argument


def _linked(output: Any, point: Tensor) -> Any:
    """The output, in whose graph the point takes part with derivative zero."""
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return output
    if output.dim() == 0 or output.shape[0] != point.shape[0]:
        return output
    zero = (0 * point.flatten(1).sum(1)).to(output)
    return output + zero.view(-1, *[1] * (output.dim() - 1))


def _check_target_length(target: Target, n_examples: int) -> None:
    listed = isinstance(target, list) or (isinstance(target, Tensor) and target.numel() > 1)
    count = len(target) if isinstance(target, list | Tensor) and listed else n_examples
    if count != n_examples:
        raise AssertionError(
            f"`target` must be one class or one per example, but got {count} "
            f"for {n_examples} examples."
        )


def _check_target(output: Any, target: Target) -> None:
    """A wrong target is Captum's AssertionError, before a device fails on it."""
    if not isinstance(output, Tensor):
        raise TypeError(
            f"`forward_func` must return a tensor, but gave {type(output).__name__}: wrap it in "
            "a function that picks the tensor to explain."
        )
    listed = target.tolist() if isinstance(target, Tensor) else target
    for index in listed if isinstance(listed, list) else [listed]:
        numbers = index if isinstance(index, tuple) else (index,)
        sizes = output.shape[1:]
        fits = len(numbers) <= len(sizes) and all(
            not isinstance(i, int) or -size <= i < size
            for i, size in zip(numbers, sizes, strict=False)
        )
        if target is not None and not fits:
            raise AssertionError(
                f"`target` must index the model's output of shape {tuple(output.shape)}, "
                f"but got {index!r}."
            )
