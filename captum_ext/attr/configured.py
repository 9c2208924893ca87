"""`Configured`: an attribution method with arguments of its ``attribute`` already chosen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from inspect import signature
from typing import Any, ClassVar

import torch
from captum.attr import DeepLiftShap, GradientShap

from captum_ext._captum import Attribution, log_usage
from captum_ext._memory import Chunk, Halvable
from captum_ext._tensors import format_baselines, format_inputs, format_output, fresh
from captum_ext._typing import Inputs, Tensors
from captum_ext.score import NoGradientError, Score, no_gradient_said

_CHUNKS = ("internal_batch_size", "perturbations_per_eval")
_SAMPLING = (GradientShap, DeepLiftShap)


def require_method(method: Any) -> None:
    """What is put around a method refuses what is none, or a class that has no model yet.

    Raises:
        TypeError: for these.
    """
    if isinstance(method, type):
        got = f"the class {method.__name__}: make one, as {method.__name__}(model)"
    elif not hasattr(method, "forward_func") or not hasattr(method, "attribute"):
        got = f"{type(method).__name__}: give one of Captum's or this package's, as IDGI(...)"
    else:
        return
    raise TypeError(f"`method` is an attribution method of a model, but got {got}.")


class Around(Attribution):
    """A method that asks another one; a layer method's gradients reach that one."""

    averages_over_baselines: ClassVar[bool] = False

    def __init__(self, method: Attribution) -> None:
        require_method(method)
        super().__init__(method.forward_func)
        self.method = method

    def get_name(self) -> str:
        """The method's own name."""
        name: str = self.method.get_name()
        return name

    def has_convergence_delta(self) -> bool:
        """Whether the method has one."""
        has: bool = self.method.has_convergence_delta()
        return has

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether the method does."""
        does: bool = self.method.multiplies_by_inputs
        return does

    @property
    def gradient_func(self) -> Callable[..., Tensors]:
        """Captum's hook of the method, through which layer methods take gradients."""
        hook: Callable[..., Tensors] = self.method.gradient_func
        return hook

    @gradient_func.setter
    def gradient_func(self, hook: Callable[..., Tensors]) -> None:
        self.method.gradient_func = hook


class Configured(Around):
    """A method that brings arguments along, for callers that only know inputs and target.

    What this package's methods promise holds of Captum's within: inputs that are not finite and
    a target that does not fit are refused in words, no graph is left, and a map has the inputs'
    type.

    Args:
        method: any of Captum's or this package's.
        options: arguments of its ``attribute``; a function is called with the inputs, of a tuple
            with each, which gives a tuple. Those given to ``attribute`` later take precedence.

    >>> import torch
    >>> from captum.attr import Occlusion
    >>> method = Configured(Occlusion(lambda x: x), sliding_window_shapes=(1,))
    >>> method.attribute(torch.tensor([[1.0, 2.0]]), target=1)
    tensor([[0., 2.]])
    """

    def __init__(self, method: Attribution, **options: Any) -> None:
        """As the class says."""
        super().__init__(method)
        self.options = options

    @log_usage()
    def attribute(self, inputs: Inputs, *args: Any, **kwargs: Any) -> Any:
        """What the method gives, with the chosen arguments; it is handed copies of tensors.

        Raises:
            ValueError: if inputs are not finite, or a chunk or baselines do not fit.
            AssertionError: if the target does not fit the output, as in Captum.
        """
        tensors = format_inputs(inputs, needs_gradient=False)
        given = tensors if isinstance(inputs, tuple) else tensors[0]
        chosen = {k: _called(v, given) if callable(v) else v for k, v in self.options.items()}
        options = {**chosen, **kwargs}
        _require_chunk(options)
        with ExitStack() as stack:
            if torch.is_inference_mode_enabled():
                stack.enter_context(torch.inference_mode(False))
            # A model and a method may write into what they get: the question has copies.
            asked = tuple(x.clone() for x in tensors)
            try:
                with no_gradient_said():
                    found = self._attributed(given, args, options)
            except NoGradientError:
                raise
            except Exception as error:
                self._say_what_is_wrong(asked, args, options, error)
                raise
            if not _fits(found, inputs):
                self._say_what_is_wrong(asked, args, options)
            return _formatted(found, inputs)

    def _attributed(self, given: Inputs, args: Any, options: dict[str, Any]) -> Any:
        """What the method gives; a chunk that the library chose is halved where memory runs out."""

        def ask(**size: int) -> Any:
            # A model that ran out of memory may have written into what it got before.
            return self.method.attribute(fresh(given), *fresh(args), **fresh({**options, **size}))

        name = next((n for n in _CHUNKS if isinstance(options.get(n), Halvable)), None)
        if name is None:
            return ask()
        tensors = given if isinstance(given, tuple) else (given,)
        n = len(tensors[0])
        # Captum counts perturbations of all examples, and divides no batch.
        each = n if name == "perturbations_per_eval" else 1
        chunk = Chunk(Halvable(options[name] * each), tensors, self.forward_func)
        return chunk.fitted(n, lambda rows: ask(**{name: Halvable(max(1, rows // each))}))

    def _say_what_is_wrong(
        self, tensors: Tensors, args: Any, options: dict[str, Any], error: Exception | None = None
    ) -> None:
        """Raises an error in words if target or baselines do not fit; asks the model once more."""
        taken = signature(self.method.attribute).bind_partial(None, *args, **options).arguments
        named = {**taken, **taken.get("kwargs", {})}
        try:
            score = Score(
                self.forward_func,
                tensors,
                named.get("target"),
                named.get("additional_forward_args"),
            )
            with score.borrowed():
                score.select(score.outputs(tensors))
        except AssertionError as wrong:
            raise wrong from error
        except Exception:
            return
        if error is not None and not averages(self.method):
            try:
                format_baselines(named.get("baselines"), tensors)
            except ValueError as wrong:
                raise wrong from error


def unwrapped(method: Attribution) -> tuple[Attribution, dict[str, Any]]:
    """The method itself, and the arguments that it brings along.

    >>> from captum.attr import Saliency
    >>> method, options = unwrapped(Configured(Saliency(len), abs=False))
    >>> type(method).__name__, options, unwrapped(method)[1]
    ('Saliency', {'abs': False}, {})
    """
    if isinstance(method, Configured):
        return method.method, method.options
    return method, {}


def accepted(method: Attribution, options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that are set and that the method's ``attribute`` takes.

    ``n_steps`` is for methods that integrate along a path, those with a convergence delta: an
    optimized mask counts other steps under this name.

    >>> from captum.attr import IntegratedGradients
    >>> accepted(IntegratedGradients(len), {"n_steps": 5, "n_masks": 9, "seed": None})
    {'n_steps': 5}
    """
    inner, chosen = unwrapped(method)
    taken = signature(inner.attribute).parameters
    # A mask method's n_steps is not a path's.
    left_out = {*chosen, *(() if inner.has_convergence_delta() else ("n_steps",))}
    return {
        key: value
        for key, value in options.items()
        if key in taken and key not in left_out and value is not None
    }


def _called(option: Any, inputs: Inputs) -> Any:
    if isinstance(inputs, tuple):
        return tuple(option(x) for x in inputs)
    return option(inputs)


def starts_from_baselines(method: Attribution) -> bool:
    """Whether it does not walk a path that has a start of its own.

    >>> from captum_ext.attr import BlurIG, GuidedIG
    >>> starts_from_baselines(BlurIG(len)), starts_from_baselines(GuidedIG(len))
    (False, True)
    """
    path = getattr(unwrapped(method)[0], "path", None)
    return bool(getattr(path, "uses_baselines", True))


def averages(method: Attribution) -> bool:
    """Whether its baselines are a sample of any length, not one for each example."""
    return isinstance(method, _SAMPLING) or getattr(method, "averages_over_baselines", False)


def _require_chunk(options: dict[str, Any]) -> None:
    """Captum's methods take 0 for no bound at all."""
    for name in _CHUNKS:
        size = options.get(name)
        if isinstance(size, int) and size < 1:
            raise ValueError(f"`{name}` is at least 1, but got {size}.")


def _has_more(found: Any, inputs: Inputs) -> bool:
    """Whether something, such as a convergence delta, comes with the map."""
    return isinstance(found, tuple) and (
        not isinstance(inputs, tuple) or isinstance(found[0], tuple)
    )


def _fits(found: Any, inputs: Inputs) -> bool:
    """Whether there is a map of the shape of each input."""
    found = found[0] if _has_more(found, inputs) else found
    maps = found if isinstance(found, tuple) else (found,)
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    return [getattr(m, "shape", None) for m in maps] == [x.shape for x in tensors]


def _formatted(found: Any, inputs: Inputs) -> Any:
    if not _fits(found, inputs):
        return found
    if _has_more(found, inputs):
        return (_formatted(found[0], inputs), *found[1:])
    return format_output(found if isinstance(found, tuple) else (found,), inputs)
