"""`check_metric`: what torchmetrics and a reader of numbers take for granted of a metric."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from captum_ext._random import seeded
from captum_ext._text import number_of
from captum_ext.testing.models import Counting, Failing, LinearModel, softmaxed
from captum_ext.testing.report import (
    Check,
    NotApplicableError,
    Report,
    ViolationError,
    ask_all,
    collect,
    in_words,
    require_known,
)

METRIC: list[Check] = []


def _images() -> Tensor:
    return torch.rand(6, 3, 16, 14, generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True, eq=False)
class MetricCase:
    """A metric as it is asked by the checks.

    Args:
        make_metric: from a model to a torchmetrics metric with ``update(inputs, attributions,
            target=)``.
        inputs: (N, ...) with at least four examples; by default six small images in [0, 1].
        model: from inputs to probabilities (N, classes); by default a small network.
        claims: of "order" (only the order of a map's credits counts) and "truth" (the map of a
            linear model's own credits is better than the reversed one, as ``higher_is_better``
            of the metric says).
        exempt: checks that shall not be asked, by name, with the reason.
        tolerance: by how much numbers that should be the same may differ.
    """

    make_metric: Callable[[Any], Metric]
    inputs: Tensor = field(default_factory=_images)
    model: nn.Module | None = None
    claims: Iterable[str] = ()
    exempt: Mapping[str, str] = field(default_factory=dict)
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        if isinstance(self.make_metric, Metric) or not callable(self.make_metric):
            raise TypeError(
                "`make_metric` makes a metric from a model, such as its class or `lambda model: "
                f"Mine(model, n_steps=3)`, but got {type(self.make_metric).__name__}."
            )
        if not isinstance(self.inputs, Tensor) or len(self.inputs) < 4:
            raise ValueError("`inputs` is a tensor with at least four examples.")

    @property
    def name(self) -> str:
        """What the metric is called in a report."""
        return type(self.made()).__name__

    @cached_property
    def _model(self) -> nn.Module:
        return softmaxed(self.inputs) if self.model is None else self.model

    def fresh_model(self) -> nn.Module:
        """A copy of the model."""
        return copy.deepcopy(self._model)

    @cached_property
    def maps(self) -> Tensor:
        """Signed maps without ties."""
        generator = torch.Generator().manual_seed(2)
        return torch.randn(self.inputs.shape, generator=generator).to(self.inputs)

    def made(self, model: Any = None) -> Metric:
        """The metric of a model."""
        return self.make_metric(self.fresh_model() if model is None else model)

    def updated(self, metric: Metric, rows: slice = slice(None), **changed: Any) -> Metric:
        """The metric after an update by examples, in copies, under a seed."""
        given = {"inputs": self.inputs[rows].clone(), "attributions": self.maps[rows].clone()}
        named = {**given, "target": 1, **changed}
        with seeded(0, self.inputs.device):
            metric.update(named.pop("inputs"), named.pop("attributions"), **named)
        return metric

    def value(self, metric: Metric) -> Tensor:
        """What it computes, all numbers in one tensor."""
        found = metric.compute()
        parts = found.values() if isinstance(found, Mapping) else [found]
        return torch.cat([torch.as_tensor(part).cpu().double().flatten() for part in parts])

    def require_same(self, found: Metric, expected: Metric, names: tuple[str, str]) -> None:
        """`ViolationError` where the values of two metrics differ."""
        one, other = self.value(found), self.value(expected)
        if not torch.allclose(one, other, self.tolerance, self.tolerance, equal_nan=True):
            raise ViolationError(f"{_said(one)} {names[0]}, {_said(other)} {names[1]}")


def _said(numbers: Tensor) -> str:
    return ", ".join(f"{number:.4g}" for number in numbers.tolist())


@collect(METRIC)
def one_number(case: MetricCase) -> None:
    """Finite examples get a finite value, a number or a table of them."""
    value = case.value(case.updated(case.made()))
    if not len(value) or not value.isfinite().all():
        raise ViolationError(f"the value is {_said(value) or 'empty'}")


@collect(METRIC)
def batches(case: MetricCase) -> None:
    """Examples in batches of any size give the value of all at once."""
    parts = case.made()
    for rows in (slice(0, 1), slice(1, 3), slice(3, None)):
        case.updated(parts, rows)
    case.require_same(parts, case.updated(case.made()), ("in three batches", "in one"))


@collect(METRIC)
def example_order(case: MetricCase) -> None:
    """The order of the examples does not matter."""
    turned = case.updated(case.made(), inputs=case.inputs.flip(0), attributions=case.maps.flip(0))
    case.require_same(turned, case.updated(case.made()), ("in reverse", "in order"))


@collect(METRIC)
def forward(case: MetricCase) -> None:
    """`metric(batch)` keeps the batch, and asks the model no more than `update` does."""
    counted, again = Counting(case.fresh_model()), Counting(case.fresh_model())
    half = slice(0, len(case.inputs) // 2)
    called, expected = case.made(counted), case.updated(case.made(again), half)
    with seeded(0, case.inputs.device):
        called(case.inputs[half].clone(), case.maps[half].clone(), target=1)
    if counted.calls != again.calls:
        calls = number_of(counted.calls, "call")
        raise ViolationError(f"{calls} of the model instead of {again.calls}")
    case.require_same(called, expected, ("after a call", "after an update"))


@collect(METRIC)
def reset(case: MetricCase) -> None:
    """After `reset` nothing of earlier examples is left."""
    half = slice(0, len(case.inputs) // 2)
    metric = case.updated(case.made(), slice(len(case.inputs) // 2, None))
    metric.reset()
    expected = case.updated(case.made(), half)
    case.require_same(case.updated(metric, half), expected, ("after reset", "of a new one"))


@collect(METRIC)
def merge_state(case: MetricCase) -> None:
    """Two metrics merged give the value of all examples, as in distributed runs."""
    left = case.updated(case.made(), slice(0, 1))
    right = case.updated(case.made(), slice(1, None))
    left.merge_state(right)
    case.require_same(left, case.updated(case.made()), ("merged", "of all at once"))


@collect(METRIC)
def clone(case: MetricCase) -> None:
    """A clone has the value, and keeps it when the original goes on."""
    first = slice(0, 2)
    metric = case.updated(case.made(), first)
    twin = metric.clone()
    case.updated(metric, slice(2, None))
    expected = case.updated(case.made(), first)
    case.require_same(twin, expected, ("of the clone", "when it was made"))


@collect(METRIC)
def borrowed_model(case: MetricCase) -> None:
    """The model is none of the metric's parameters, states or modules, which move and copy it."""
    metric = case.made()
    metric.persistent(True)
    owned = [*dict(metric.named_parameters()), *dict(metric.named_children())]
    if owned:
        raise ViolationError(f"the metric owns {', '.join(owned[:3])}")


@collect(METRIC)
def collection(case: MetricCase) -> None:
    """In a `MetricCollection` two metrics of different models keep their own values."""
    model = case.fresh_model()
    flipped = case.made(nn.Sequential(Flipped(), case.fresh_model()))
    both = MetricCollection({"one": case.made(model), "two": flipped})
    # A first batch on which both agree makes torchmetrics take them for one.
    even = (case.inputs[:1] + case.inputs[:1].flip(-1)) / 2
    steps = [(even, torch.zeros_like(even)), (case.inputs.clone(), case.maps.clone())]
    apart = case.made(nn.Sequential(Flipped(), case.fresh_model()))
    for inputs, maps in steps:
        with seeded(0, case.inputs.device):
            both.update(inputs, maps, target=1)
        case.updated(apart, inputs=inputs, attributions=maps)
    case.require_same(both["two"], apart, ("in the collection", "alone"))


@collect(METRIC)
def arguments_unchanged(case: MetricCase) -> None:
    """Inputs and maps are not written over."""
    inputs, maps = case.inputs.clone(), case.maps.clone()
    case.updated(case.made(), inputs=inputs, attributions=maps)
    for name, now, then in (("inputs", inputs, case.inputs), ("maps", maps, case.maps)):
        if not torch.equal(now, then):
            raise ViolationError(f"the {name} changed by {(now - then).abs().max():.4g}")


@collect(METRIC)
def failed_update(case: MetricCase) -> None:
    """An update in which the model fails leaves the value as it was."""
    metric, model = case.updated(case.made(), slice(0, 2)), Failing(case.fresh_model(), 2)
    broken = case.made(model)
    try:
        case.updated(broken, slice(0, 2))
        case.updated(broken, slice(2, None))
    except Exception:
        if not broken.update_count:
            raise NotApplicableError("the first update asks the model more than once") from None
        case.require_same(broken, metric, ("after the failure", "before"))
        return
    raise NotApplicableError("the model was not asked a second time")


@collect(METRIC)
def random_state(case: MetricCase) -> None:
    """The global random state does not matter, and stays."""
    values = []
    for seed in (1, 2):
        with seeded(seed, case.inputs.device) as drawn:
            metric = case.made()
            metric.update(case.inputs.clone(), case.maps.clone(), target=1)
            values.append(case.value(metric))
            if drawn():
                raise ViolationError("numbers were drawn from it")
    if not torch.allclose(values[0], values[1], equal_nan=True):
        raise ViolationError(f"the value is {_said(values[0])} and {_said(values[1])}")


@collect(METRIC)
def wrong_target(case: MetricCase) -> None:
    """A target that does not fit the output is refused by an error that says target."""
    _require_refused(case, "target", "target=95", target=95)


@collect(METRIC)
def wrong_shape(case: MetricCase) -> None:
    """Maps of another size than the inputs are refused by an error that says attributions."""
    maps = case.maps[..., :-1]
    what = f"inputs {tuple(case.inputs.shape)} with maps {tuple(maps.shape)}"
    _require_refused(case, "attribution", what, attributions=maps)


@collect(METRIC)
def nan_map(case: MetricCase) -> None:
    """A map of nan adds nothing to the value: it is refused, or left out."""
    maps = case.maps.clone()
    maps[0] = torch.nan
    metric = case.made()
    try:
        case.updated(metric, attributions=maps)
    except Exception:
        return
    without = case.updated(case.made(), slice(1, None))
    if not case.value(metric).isnan().any():
        case.require_same(metric, without, ("with a map of nan", "without that example"))


@collect(METRIC, claim=True)
def order(case: MetricCase) -> None:
    """Only the order of the credits counts: a map times 3 has the same value."""
    tripled = case.updated(case.made(), attributions=3 * case.maps)
    case.require_same(tripled, case.updated(case.made()), ("of 3 x maps", "of the maps"))


@collect(METRIC, claim=True)
def truth(case: MetricCase) -> None:
    """A linear model's own credits are better than the same with the other sign."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(1, case.inputs[0].numel(), generator=generator)
    weight = weight / weight.norm() * 4
    model = nn.Sequential(LinearModel(torch.cat([-weight, weight])), nn.Softmax(1)).to(case.inputs)
    inputs = case.inputs
    credit = (weight.to(inputs) * inputs.flatten(1)).view_as(inputs)
    right = case.updated(case.made(model), inputs=inputs, attributions=credit)
    wrong = case.updated(case.made(model), inputs=inputs, attributions=-credit)
    better, worse = case.value(right).mean(), case.value(wrong).mean()
    higher = right.higher_is_better
    if higher is None:
        raise NotApplicableError("`higher_is_better` of the metric is None")
    if not (better > worse if higher else better < worse):
        word = "higher" if higher else "lower"
        raise ViolationError(f"{better:.4g} of the truth, {worse:.4g} reversed: {word} is better")


def _require_refused(case: MetricCase, word: str, what: str, **changed: Any) -> None:
    metric = case.made()
    try:
        case.updated(metric, **changed)
        value = case.value(metric)
    except Exception as error:
        if word not in str(error).lower():
            raise ViolationError(f"{what} raised {in_words(error)}") from error
        return
    raise ViolationError(f"{what} got the value {_said(value)}")


class Flipped(nn.Module):
    """Inputs in reverse along their last dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(-1)


def check_metric(
    make_metric: MetricCase | Callable[[Any], Metric], *, raises: bool = True, **settings: Any
) -> Report:
    """Asks a metric of maps whether it keeps what torchmetrics and its readers take for granted.

    Args:
        make_metric: from a model to the metric, as its class does; or a `MetricCase`.
        raises: whether a check that fails raises, after all were asked.
        settings: of the `MetricCase`: inputs, model, claims, exempt, tolerance.

    Returns:
        What each check found: passed, failed, or not applicable with the reason.

    Raises:
        ContractError: with ``raises``, if checks fail; its message shows all of them.

    >>> from captum_ext.metrics import Insertion
    >>> report = check_metric(lambda model: Insertion(model, n_steps=3), claims=["order", "truth"])
    >>> report.failed, report.not_applicable
    ((), ())
    """
    case = make_metric
    if not isinstance(case, MetricCase):
        case = MetricCase(case, **settings)
    elif settings:
        raise TypeError(f"`settings` are within the case, but got {sorted(settings)} beside it.")
    return ask_all(case.name, metric_checks_of(case), case, raises)


def metric_checks_of(case: MetricCase) -> tuple[Check, ...]:
    """The checks of a case.

    Raises:
        ValueError: if it names one that is none.
    """
    require_known("claims", case.claims, [check for check in METRIC if check.claim])
    require_known("exempt", case.exempt, METRIC)
    return tuple(METRIC)
