"""`Score`: a model bound to a target, the one way from a model's output to a number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from numbers import Integral
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy

from captum_ext._captum import (
    compute_gradients,
    format_additional_forward_args,
    select_targets,
)
from captum_ext._memory import Answer, Chunk, Frozen, default_chunk, module_of
from captum_ext._numbers import whole
from captum_ext._outputs import told_misfits
from captum_ext._random import restored
from captum_ext._tensors import accumulation_dtype, asked, fresh, require_scores, without_autocast
from captum_ext._text import number_of
from captum_ext._typing import Forward, Target, Tensors


class Score:
    """A model bound to a target: one number per example, and its gradient.

    The one way from a model's output to the number that is explained. The output is checked:
    floating point, one row per example, finite, and with a gradient where one is asked for. The
    model is handed copies, never the same tensor twice, so that it may write into what it gets.

    Points come in any floating type and on any device; the model sees the type and device of
    ``inputs``, the gradient goes back in the type and device of the points. Values are in the
    widest type of the inputs' device. The model is called with at most ``chunk`` rows at once.

    A gradient is refused where the output has no graph, and where its graph (of parameters, say)
    does not hold an input on which its value depends. If the value stays the same with zeros,
    ones, and the input's elements in reverse, the model does not use that input: the gradient is
    zero. One that is zero in the graph (a ReLU that is off) is a gradient like any other.

    Args:
        forward_func: the model or function that is explained.
        inputs: the examples, (N, ...); they say type, device and batch size.
        target: what of the output is explained, as in Captum.
        additional_forward_args: further arguments; a tensor with N rows follows its example.
        gradient_func: Captum's hook through which layer and neuron methods take gradients.
        chunk: rows per model call; None leaves it to the library, which halves it where memory
            runs out.
        keep_undefined: whether a value or gradient that is nan or infinite is returned, for
            callers that count such examples or ask later, instead of refused.

    Raises:
        TypeError: if it is no model or function, or gives no tensor of floating point.
        ValueError: if it gives another number of rows, nan or infinite values, or no gradient.
        AssertionError: if the target does not fit, as in Captum.

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
        keep_undefined: bool = False,
    ) -> None:
        require_model(forward_func)
        if chunk is not None and whole("internal_batch_size", chunk) < 1:
            raise ValueError(
                f"`internal_batch_size` is the number of examples per model call, at least 1, "
                f"but got {chunk}."
            )
        self.forward_func = forward_func
        self.n_examples = inputs[0].shape[0]
        self.dtypes = tuple(x.dtype for x in inputs)
        self.device = inputs[0].device
        _require_known_form(target)
        with torch.inference_mode(False):
            self.target = fresh(target)
        # Listed and moved once: at each call it would stall an accelerator.
        self._listed = target.tolist() if isinstance(target, Tensor) else target
        if isinstance(target, list) and target and all(type(i) is int for i in target):
            self.target = torch.tensor(target)
        if isinstance(self.target, Tensor):
            one = self.target.numel() == 1
            self.target = int(self.target.item()) if one else self.target.to(self.device)
        self.additional_forward_args = format_additional_forward_args(additional_forward_args)
        self.gradient_func = gradient_func
        self._chunk = Chunk(chunk or default_chunk(inputs), inputs, forward_func)
        self._frozen = Frozen(forward_func if self.knows_value else None)
        self.keep_undefined = keep_undefined
        self.autocast = {
            kind: torch.get_autocast_dtype(kind)
            for kind in {"cpu", self.device.type}
            if torch.is_autocast_enabled(kind)
        }
        self._transform: Callable[[Tensor], Tensors] | None = None
        _check_target_length(target, self.n_examples)

    @property
    def chunk(self) -> int:
        """Rows per model call, as many as memory was found to hold."""
        return self._chunk.rows

    @contextmanager
    def borrowed(self) -> Iterator[Score]:
        """While it lasts the model is borrowed, and returned as it was, also after an exception.

        The global random states and the buffers of a module (running statistics) are put
        back, and parameters ask for no gradient meanwhile, which spares memory. Nothing is
        recorded for a backward pass, and arithmetic is neither under the caller's autocast nor in
        inference mode; the model's own calls are under that autocast.
        """
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
            stack.enter_context(restored(self.device))
            stack.enter_context(without_autocast(self.device))
            stack.enter_context(_kept_buffers(self.forward_func))
            stack.enter_context(self._frozen)
            yield self

    def __call__(self, points: Tensors, rows: Tensor | None = None) -> Tensor:
        """The score of each point, (M,), without a graph; ``rows`` says whose point each is."""
        self._require_values()
        values = torch.cat(
            self.calls(len(points[0]), lambda part: self._value(*_part(points, rows, part)))
        )
        if not self.keep_undefined:
            _require_finite((values,), rows)
        return values

    def with_gradient(
        self, points: Tensors, rows: Tensor | None = None
    ) -> tuple[Tensor | None, Tensors]:
        """The score of each point, (M,), and its gradient, in the shape of the points.

        The score costs nothing more: it falls out of the gradient's forward pass. It is None
        under a replaced ``gradient_func``, whose gradient belongs to another number.
        """
        parts = self.calls(
            len(points[0]), lambda part: self._value_and_gradient(*_part(points, rows, part))
        )
        values = [value for value, _ in parts if value is not None]
        value = torch.cat(values) if values else None
        gradient = tuple(torch.cat(g) for g in zip(*(g for _, g in parts), strict=True))
        if not self.keep_undefined:
            _require_finite(gradient if value is None else (value, *gradient), rows)
        return value, gradient

    def calls(self, n_rows: int, ask: Callable[[slice], Answer]) -> list[Answer]:
        """What ``ask`` gives for one slice of ``n_rows`` after the other, ``chunk`` rows at most.

        For callers that make the rows of a model call only when it is made. Where ``ask`` runs
        out of memory, it is asked again for half of the rows, unless their number was given.

        >>> score = Score(lambda x: x.sum(1), (torch.ones(5, 2),), chunk=2)
        >>> score.calls(5, lambda part: (part.start, part.stop))
        [(0, 2), (2, 4), (4, 5)]
        """
        return self._chunk.calls(n_rows, ask)

    def unchecked(self) -> Score:
        """The same score that returns nan and infinite values and gradients: the caller asks."""
        unchecked = copy(self)
        unchecked.keep_undefined = True
        return unchecked

    def through(self, transform: Callable[[Tensor], Tensors]) -> Score:
        """The same score of ``transform(point)``: points of any type and shape.

        >>> score = Score(lambda x: x.sum(1), (torch.zeros(1, 2),))
        >>> score.through(lambda p: (p**2,)).with_gradient((torch.ones(1, 2),))
        (tensor([2.], dtype=torch.float64), (tensor([[2., 2.]]),))
        """
        composed = copy(self)
        composed._transform = transform
        return composed

    def outputs(self, points: Tensors, rows: Tensor | None = None) -> Tensor:
        """The model's whole output at each point, (M, ...), without a graph."""

        def ask(part: slice) -> Tensor:
            some, whose = _part(points, rows, part)
            with torch.no_grad():
                return self._forward(self._seen(some), self._arguments_of(whose)).detach()

        parts = self.calls(len(points[0]), lambda part: self._thawing(lambda: ask(part)))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _value(self, points: Tensors, rows: Tensor | None) -> Tensor:
        return self.select(self.outputs(points, rows), rows)

    def _value_and_gradient(
        self, points: Tensors, rows: Tensor | None
    ) -> tuple[Tensor | None, Tensors]:
        with no_gradient_said():
            if not self.knows_value:
                return None, self._replaced_gradient(points, rows)
            return self._thawing(lambda: self._own_gradient(points, rows))

    def _thawing(self, ask: Callable[[], Answer]) -> Answer:
        """Asks again with parameters that have gradients, where that may be what was missing.

        Without them in the graph, no gradient and one that is zero look alike; and a model may
        take gradients of its own.
        """
        try:
            return ask()
        except RuntimeError as error:
            missing = _is_of_graph(error) or "not require grad" in str(error)
            if not (missing and self._frozen.thaw()):
                raise
        return ask()

    def _own_gradient(self, points: Tensors, rows: Tensor | None) -> tuple[Tensor, Tensors]:
        leaves = tuple(p.detach().requires_grad_() for p in points)
        with torch.enable_grad():
            seen = self._seen(leaves)
            value = self.select(self._forward(seen, self._arguments_of(rows)), rows)
            if not value.requires_grad:
                raise NoGradientError()
            # Of what the model sees too, each tensor of which must have a part in the graph.
            wanted = [t for t in seen if t.requires_grad] if self._transform else []
            found = torch.autograd.grad(value.sum(), (*leaves, *wanted), allow_unused=True)
        value, gradients = value.detach(), found[: len(leaves)]
        for tensor, gradient in zip(wanted or leaves, found[-len(wanted or leaves) :], strict=True):
            if gradient is None and self._changes_with(tensor, seen, rows, value):
                raise NoGradientError()
        return value, _zeros_for_none(gradients, points)

    def _replaced_gradient(self, points: Tensors, rows: Tensor | None) -> Tensors:
        """Of a layer or neuron method; its network may be handed the leaves as they are."""
        kinds = [p.dtype for p in points] if self._transform else self.dtypes
        pairs = zip(points, kinds, strict=True)
        leaves = [p.detach().to(self.device, kind, copy=True).requires_grad_() for p, kind in pairs]
        # A layer method asks its own model, not the one it is given here.
        with torch.enable_grad(), self._callers_autocast():
            found = self.gradient_func(
                forward_fn=lambda *given: self._forward(
                    self._seen(given[: len(points)]), given[len(points) :]
                ),
                inputs=tuple(leaves),
                target_ind=self._target_of(rows),
                additional_forward_args=self._arguments_of(rows) or None,
            )
        return tuple(g.to(p) for g, p in zip(_zeros_for_none(found, points), points, strict=True))

    def _changes_with(
        self, tensor: Tensor, seen: Tensors, rows: Tensor | None, value: Tensor
    ) -> bool:
        """Whether the score is another where one of the tensors is: asked off the usual way."""
        turned = tensor.reshape(len(tensor), -1).flip(1).view_as(tensor)
        for probe in (torch.zeros_like(tensor), torch.ones_like(tensor), turned):
            changed = tuple(probe if t is tensor else t for t in seen)
            with torch.no_grad():
                other = self._forward(changed, self._arguments_of(rows))
            if not torch.equal(self.select(other, rows), value):
                return True
        return False

    @property
    def knows_value(self) -> bool:
        """Whether the gradient is that of this score, not of a layer or neuron."""
        return self.gradient_func is compute_gradients

    def _require_values(self) -> None:
        if not self.knows_value:
            raise ValueError(
                "Within a layer or neuron method only gradients are known, but this rule, this "
                "placement or a convergence delta needs the model's values: at a layer use "
                "captum_ext.attr.AtLayer, else a rule that reads gradients alone, such as "
                "`riemann`, and even steps."
            )

    def _seen(self, points: Tensors) -> Tensors:
        """What the model is asked about."""
        return points if self._transform is None else self._transform(*points)

    def _forward(self, seen: Tensors, arguments: tuple[Any, ...]) -> Tensor:
        """The model's output, checked, for copies of the tensors and arguments."""
        pairs = zip(seen, self.dtypes, strict=True)
        # Copied within the graph, so that a gradient is that of the point, whatever is written.
        copies = [x.to(self.device, dtype, copy=True) for x, dtype in pairs]
        with self._callers_autocast(), told_misfits(self.forward_func, tuple(copies)):
            output = self.forward_func(*copies, *fresh(arguments))
        scores = require_scores(output, len(seen[0]))
        _check_target(scores, self._listed)
        return scores

    @contextmanager
    def _callers_autocast(self) -> Iterator[None]:
        with ExitStack() as stack:
            for kind, dtype in self.autocast.items():
                stack.enter_context(torch.autocast(kind, dtype))
            yield

    def select(self, output: Tensor, rows: Tensor | None = None) -> Tensor:
        """The target's entry of each row of an output, (M,)."""
        target = self._target_of(rows)
        if isinstance(target, Tensor):
            # A model may answer on another device than it is asked.
            target = target.to(output.device)
        if isinstance(target, Tensor) and target.shape == output.shape[:1] and output.dim() == 2:
            # As Captum does, which would ask an accelerator where there is one example.
            selected = output.gather(1, target[:, None].long()).squeeze(1)
        else:
            selected = select_targets(output, target)
        if selected[0].numel() != 1:
            raise AssertionError(
                f"`target` must choose one output per example, but {self.target!r} leaves shape "
                f"{_by_example(selected)}: pass the class to explain."
            )
        # A copy: a model may give the same tensor, written anew, at every call.
        return selected.reshape(-1).to(accumulation_dtype(self.device), copy=True)

    def _target_of(self, rows: Tensor | None) -> Target:
        if rows is None or not _is_per_example(self.target):
            return self.target
        if isinstance(self.target, Tensor):
            return self.target[rows.to(self.target.device)]
        return [self.target[i] for i in rows.tolist()]

    def _arguments_of(self, rows: Tensor | None) -> tuple[Any, ...]:
        given = self.additional_forward_args or ()
        if rows is None:
            return given
        n = self.n_examples
        return tuple(
            a[rows.to(a.device)] if isinstance(a, Tensor) and a.dim() > 0 and len(a) == n else a
            for a in given
        )


def require_model(forward_func: Any) -> None:
    """What methods and metrics refuse when they are made, not when they first ask.

    Raises:
        TypeError: for what can't be asked.

    >>> require_model(nn.ReLU)
    Traceback (most recent call last):
    ...
    TypeError: `forward_func` is a model or a function of the inputs, but got the class ReLU: ...
    """
    got = ""
    if isinstance(forward_func, type):
        got = f"the class {forward_func.__name__}: make one, as {forward_func.__name__}(...)"
    elif isinstance(forward_func, ExportedProgram):
        got = "an exported program: give its `.module()`"
    elif not callable(forward_func):
        got = "None" if forward_func is None else f"{type(forward_func).__name__}"
    if got:
        raise TypeError(f"`forward_func` is a model or a function of the inputs, but got {got}.")


class NoGradientError(ValueError, RuntimeError):
    """What every method says where a model gives its input no gradient.

    A wrong call, and as with torch's own words for it a RuntimeError.
    """

    def __init__(self) -> None:
        super().__init__(
            "no gradient reaches the inputs of `forward_func`: it runs under torch.no_grad or in "
            "inference mode, detaches, or leaves PyTorch (NumPy, quantized layers). Make it "
            "differentiable, or use RISE, which needs none."
        )


# What torch says where a graph is missing; nothing else tells these from a model's own errors.
_WITHOUT_GRAPH = (
    "Can't call numpy() on Tensor that requires grad",
    "does not require grad and does not have a grad_fn",
    "appears to not have been used in the graph",
    "Inference tensors cannot be saved for backward",
)


@contextmanager
def no_gradient_said() -> Iterator[None]:
    """Turns torch's words for a missing graph into ours."""
    try:
        yield
    except RuntimeError as error:
        if _is_of_graph(error) and not isinstance(error, NoGradientError):
            raise NoGradientError() from error
        raise


def _is_of_graph(error: RuntimeError) -> bool:
    return isinstance(error, NoGradientError) or any(w in str(error) for w in _WITHOUT_GRAPH)


@contextmanager
def _kept_buffers(forward_func: Forward) -> Iterator[None]:
    """Puts back what a module, or the module of a method, writes into its buffers."""
    module = module_of(forward_func)
    held = list(module.buffers()) if isinstance(module, nn.Module) else []
    before = [
        (b, b.detach().clone())
        for b in held
        if not (is_lazy(b) or b.is_meta or b.is_inference() or b.is_quantized)
    ]
    try:
        yield
    finally:
        pairs = [(b, old) for b, old in before if b.shape == old.shape]
        # Only what has changed: a graph of the caller's may need the buffer unwritten. Asked of
        # all at once, as each question stalls an accelerator.
        written = asked(*((b != old).any() for b, old in pairs))
        for (buffer, old), changed in zip(pairs, written, strict=True):
            if changed:
                buffer.copy_(old)


def _part(points: Tensors, rows: Tensor | None, part: slice) -> tuple[Tensors, Tensor | None]:
    """The rows of one model call; whose they are is said where they are not all."""
    if len(points[0]) == part.stop - part.start:
        return points, rows
    rows = torch.arange(len(points[0]), device=points[0].device) if rows is None else rows
    return tuple(p[part] for p in points), rows[part]


def _zeros_for_none(gradients: Iterable[Tensor | None], points: Tensors) -> Tensors:
    pairs = zip(gradients, points, strict=True)
    return tuple(torch.zeros_like(p) if g is None else g.detach() for g, p in pairs)


def _require_finite(tensors: Tensors, rows: Tensor | None) -> None:
    """Refuses values (M,) and gradients (M, ...) of which any is nan or infinite."""
    finite = [_is_finite(t.reshape(len(t), -1)).to(tensors[0].device) for t in tensors]
    bad = (~torch.stack(finite).all(0)).nonzero().flatten()
    if len(bad):
        examples = bad if rows is None else rows[bad.to(rows.device)]
        raise ValueError(
            f"`forward_func` gave nan or infinite values or gradients for the examples "
            f"{sorted(set(examples.tolist()))}: check the model on these inputs and their "
            "baselines, and its type."
        )


def _is_finite(rows: Tensor) -> Tensor:
    """Of each row, by its ends, which hand on nan: a tenth of the time of asking each entry."""
    return torch.isfinite(rows.amax(1)) & torch.isfinite(rows.amin(1))


def _is_per_example(target: Target) -> TypeGuard[list[Any] | Tensor]:
    return isinstance(target, list) or (isinstance(target, Tensor) and target.numel() > 1)


def _require_known_form(target: Any) -> None:
    """Of Captum's forms, and of whole numbers: 1.7 would be class 1, and a mask classes 0 and 1."""
    if isinstance(target, Tensor):
        counts = not (
            target.is_floating_point() or target.is_complex() or target.dtype == torch.bool
        )
        if counts and (target.dim() == 1 or target.numel() == 1):
            return
        got, use = f"{target.dtype} of shape {tuple(target.shape)}", "say them as `argmax` does"
    else:
        if target is None or _is_index(target):
            return
        listed = isinstance(target, list)
        if listed and all(_is_index(i) and type(i) is type(target[0]) for i in target):
            return
        got = repr(target) if len(repr(target)) < 40 else type(target).__name__
        use = "convert it with `int` or `torch.tensor`"
    raise AssertionError(
        "`target` is the number of a class, a tuple of such numbers, or one of these per example, "
        f"as a list or a tensor (N,) of whole numbers, but got {got}: {use}."
    )


def _is_index(target: Any) -> bool:
    """Whether it is a number of Python's, or a tuple of numbers of Python's or NumPy's."""
    parts = target if isinstance(target, tuple) else (target,)
    kinds: Any = Integral if isinstance(target, tuple) else int
    return all(isinstance(i, kinds) and not isinstance(i, bool) for i in parts)


def _check_target_length(target: Target, n_examples: int) -> None:
    if _is_per_example(target) and len(target) != n_examples:
        raise AssertionError(
            f"`target` must be one class or one per example, but got {len(target)} "
            f"for {number_of(n_examples, 'example')}."
        )


def _by_example(output: Tensor) -> str:
    """A shape with N rows, as the caller sees it: a model call holds several points of each."""
    return str(("N", *output.shape[1:])).replace("'", "")


def _check_target(output: Tensor, target: Target) -> None:
    """A wrong target is Captum's AssertionError, before a device fails on it."""
    for index in target if isinstance(target, list) else [target]:
        numbers = index if isinstance(index, tuple) else (index,)
        sizes = output.shape[1:]
        fits = len(numbers) <= len(sizes) and all(
            not isinstance(i, int) or -size <= i < size
            for i, size in zip(numbers, sizes, strict=False)
        )
        if target is not None and not fits:
            raise AssertionError(
                f"`target` must index the model's output of shape {_by_example(output)}, "
                f"but got {index!r}."
            )
