"""`OverBaselines`: what a method credits from one baseline, averaged over many."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import signature
from typing import Any, ClassVar

import torch
from torch import Tensor

from captum_ext._captum import Attribution, log_usage
from captum_ext._numbers import real, whole
from captum_ext._random import stream
from captum_ext._tensors import accumulation_dtype, format_inputs, moved, sent
from captum_ext._text import number_of
from captum_ext._typing import Inputs, Target, Tensors
from captum_ext.attr.configured import (
    Around,
    Configured,
    averages,
    require_method,
    starts_from_baselines,
    unwrapped,
)

__all__ = ["OverBaselines"]


class OverBaselines(Around):
    """A method's mean over several baselines: expected gradients, with any path and rule.

    The credit of feature i is ``mean over b of credit_i(x, b)``, in which the method walks from
    each baseline b in turn (Erion et al., "Improving performance of deep learning models with
    axiomatic attribution priors and expected gradients", Nature Machine Intelligence 2021, eq. 3,
    whose integral over the path is here the method's own and not one random point of it). What
    is complete for one baseline sums to ``f(x) - mean f(b)``. It costs as much as the method,
    times the number of baselines.

    Args:
        method: `IDGI`, `GuidedIG`, any `PathAttribution`, Captum's IntegratedGradients, or any
            other method that takes ``baselines``, which may be `Configured`.
        shared: True if baselines (B, ...) are one set for all examples, as GradientShap takes
            them; False if baselines (N, ...) are one for each, as IntegratedGradients does.
            None tells them apart by their number, and refuses B = N.

    Raises:
        TypeError: for a method that takes no baselines, or averages over them itself.
        ValueError: for one whose path has a start of its own.

    >>> from captum.attr import IntegratedGradients
    >>> from captum_ext.attr import IDGI
    >>> method = OverBaselines(IDGI(IntegratedGradients(lambda x: (x**2).sum(1))))
    >>> baselines = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    >>> method.attribute(torch.tensor([[3.0, 1.0]]), baselines, n_steps=10)
    tensor([[7.6250, 1.3750]])
    """

    averages_over_baselines: ClassVar[bool] = True

    def __init__(self, method: Attribution, shared: bool | None = None) -> None:
        """As the class says."""
        _require_baselines(method)
        if not (shared is None or isinstance(shared, bool)):
            raise TypeError(f"`shared` is True, False or None, but got {shared!r}.")
        super().__init__(method)
        self.shared = shared

    def get_name(self) -> str:
        """The method's own name, of which this is the expectation."""
        return f"Expected {super().get_name()}"

    @log_usage()
    def attribute(
        self,
        inputs: Inputs,
        baselines: Any = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int | None = None,
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        *,
        n_samples: int | None = None,
        stdevs: float | tuple[float, ...] = 0.0,
        seed: int = 0,
        **options: Any,
    ) -> Any:
        """The mean of what the method gives from each baseline.

        Args:
            inputs: this and ``target``, ``additional_forward_args``, ``n_steps`` and
                ``internal_batch_size`` as the method takes them.
            baselines: a tensor (B, ...), baselines for all examples; (N, B, ...), each example's
                own B; what the method takes itself (None, a number, one example); a tuple of
                these, one per input, with the same B; or a function that gives one of these,
                from the inputs if it takes an argument.
            return_convergence_delta: also return the sum of attributions minus the mean rise.
            n_samples: how many of the baselines are drawn, the same for all examples and none
                twice; None takes each once.
            stdevs: standard deviation of noise on the inputs, one or one per input, which is
                drawn anew for each baseline and is the same for all examples. With it ``n_samples``
                may be more than B.
            seed: decides draws and noise, whatever the global random state.
            options: further arguments of the method, such as ``method`` or ``feature_mask``.

        Returns:
            What the method returns: attributions, and with ``return_convergence_delta`` the mean
            of its deltas, (N,). With one baseline, bit for bit those of the method alone.

        Raises:
            ValueError: if baselines don't fit, can't be told to be shared or each example's own,
                or are fewer than ``n_samples``; and whatever the method refuses.
        """
        tensors = format_inputs(inputs, needs_gradient=False)
        noise = _stdevs(stdevs, tensors)
        pairs = zip(_one_each(_called(baselines, inputs), len(tensors)), tensors, strict=True)
        samples = [_samples(given, x, self.shared) for given, x in pairs]
        chosen = {
            "n_steps": n_steps,
            "internal_batch_size": internal_batch_size,
            "return_convergence_delta": return_convergence_delta or None,
            "seed": seed
            if "seed" in signature(unwrapped(self.method)[0].attribute).parameters
            else None,
        }
        options |= {key: value for key, value in chosen.items() if value is not None}
        options |= {"target": target, "additional_forward_args": additional_forward_args}
        method, is_tuple = Configured(self.method), isinstance(inputs, tuple)

        def from_one(number: int, drawn: int) -> Any:
            start = tuple(one[drawn % len(one)] for one in samples)
            end = _noisy(tensors, noise, seed, number)
            if start[0] is not None:
                options["baselines"] = start if is_tuple else start[0]
            return method.attribute(end if is_tuple else end[0], **options)

        draws = _draws(_count(samples), n_samples, any(noise), seed)
        return _mean(from_one(*draw) for draw in enumerate(draws))


def _require_baselines(method: Attribution) -> None:
    require_method(method)
    inner, chosen = unwrapped(method)
    name = type(inner).__name__
    if averages(inner):
        raise TypeError(
            f"`method` walks from one baseline at a time, but {name} averages over baselines "
            "itself: use it as it is."
        )
    if "baselines" not in signature(inner.attribute).parameters or "baselines" in chosen:
        why = "brings its own along" if "baselines" in chosen else "takes none"
        raise TypeError(
            f"`method` must take `baselines` to be averaged over them, but {name} {why}: give one "
            "such as IDGI, GuidedIG, PathAttribution or Captum's IntegratedGradients."
        )
    if not starts_from_baselines(inner):
        raise ValueError(
            f"`method` must walk from its baselines to be averaged over them, but {name} walks "
            f"{type(inner.path).__name__}, which has a start of its own."
        )


def _called(baselines: Any, inputs: Inputs) -> Any:
    if not callable(baselines):
        return baselines
    return baselines(inputs) if signature(baselines).parameters else baselines()


def _one_each(baselines: Any, n_inputs: int) -> tuple[Any, ...]:
    """What is given for each input."""
    if baselines is None:
        return (None,) * n_inputs
    given = baselines if isinstance(baselines, tuple) else (baselines,)
    if len(given) != n_inputs or any(one is None for one in given):
        raise ValueError(
            f"`baselines` needs one entry per input tensor, but got {len(given)} "
            f"for {number_of(n_inputs, 'input')}."
        )
    return given


def _samples(given: Any, x: Tensor, shared: bool | None) -> list[Any]:
    """The baselines of one input, each in a form that methods take."""
    if not isinstance(given, Tensor) or given.dim() == 0:
        return [given]
    n, one, shape = len(x), tuple(x.shape[1:]), tuple(given.shape)
    counts = (1, n) if shared is False else range(1, len(given) + 1)
    if shape[1:] == one and len(given) in counts:
        if shared is None and len(given) == n > 1:
            raise ValueError(
                f"`baselines` of shape {shape} may be {n} for all of the examples, or one for "
                "each: make the method with `OverBaselines(method, shared=True)` for the first, "
                "`shared=False` for the second."
            )
        return [given] if shared is False else list(given[:, None].unbind(0))
    if shape[:1] + shape[2:] == (n, *one) and given.numel() and not shared:
        return list(given.unbind(1))
    forms = [
        None if shared is False else ("B", *one),
        None if shared else (n, "B", *one),
        (n, *one) if shared is False else (1, *one),
    ]
    fit = ", ".join(str(form).replace("'", "") for form in forms if form)
    raise ValueError(
        f"`baselines` of inputs {tuple(x.shape)} with `shared={shared}` have one of the shapes "
        f"{fit}, but got {shape}."
    )


def _count(samples: list[list[Any]]) -> int:
    """How many baselines there are, of all inputs together."""
    counts = {len(one) for one in samples} - {1}
    if len(counts) > 1:
        raise ValueError(
            f"`baselines` of several inputs are drawn together, as many of each, but got "
            f"{[len(one) for one in samples]}."
        )
    return counts.pop() if counts else 1


def _draws(count: int, n_samples: int | None, noisy: bool, seed: int) -> list[int]:
    """Which baselines are walked from, in their order."""
    n = count if n_samples is None else whole("n_samples", n_samples)
    if n < 1 or (n > count and not noisy):
        raise ValueError(
            f"`n_samples` is how many of {number_of(count, 'baseline')} are drawn, from 1 to "
            f"{count} without `stdevs`, but got {n}."
        )
    # None is drawn twice before all were drawn: the mean is nearer that of all.
    order = torch.randperm(count, generator=stream(seed))[: n % count]
    return sorted([*range(count)] * (n // count) + order.tolist())


def _stdevs(stdevs: float | tuple[float, ...], tensors: Tensors) -> tuple[float, ...]:
    each = stdevs if isinstance(stdevs, tuple) else (stdevs,) * len(tensors)
    pairs = zip(each, tensors, strict=False)
    if len(each) != len(tensors) or any(
        real("stdevs", s) < 0 or (s and not x.is_floating_point()) for s, x in pairs
    ):
        raise ValueError(
            f"`stdevs` is the standard deviation of noise on inputs of floating point, at least 0, "
            f"one or one per input, but got {stdevs} for {[x.dtype for x in tensors]}."
        )
    return each


def _noisy(tensors: Tensors, stdevs: tuple[float, ...], seed: int, number: int) -> Tensors:
    """The inputs with the noise of one draw, the same for all examples."""
    found = []
    for k, (x, stdev) in enumerate(zip(tensors, stdevs, strict=True)):
        if stdev:
            noise = torch.randn(x.shape[1:], generator=stream(seed, number, k))
            x = x + sent(stdev * noise, x.device, x.dtype)
        found.append(x)
    return tuple(found)


def _mean(results: Iterable[Any]) -> Any:
    """The mean of results alike, tensors however they are held, in the form and type of one."""
    total: Any = None
    n = 0
    for found in results:
        total, n = _added(total, found), n + 1
    return _divided(total, n, found)


def _added(total: Any, found: Any) -> Any:
    """Sums of a result's tensors, however they are held, in the widest type of the device."""
    if isinstance(found, Tensor):
        wide = moved(found, found.device, accumulation_dtype(found.device))
        return wide.clone() if total is None else total.add_(wide)
    totals = [None] * len(found) if total is None else total
    return [_added(t, f) for t, f in zip(totals, found, strict=True)]


def _divided(total: Any, n: int, like: Any) -> Any:
    """Means in the form and type of one result."""
    if isinstance(like, Tensor):
        return moved(total / n, like.device, like.dtype)
    return type(like)(_divided(t, n, one) for t, one in zip(total, like, strict=True))
