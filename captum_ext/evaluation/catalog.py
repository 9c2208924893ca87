"""What the command knows by name, made for a model, and how a user's own metric gets a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torch import Tensor
from torchmetrics import Metric, MetricCollection

from captum_ext._captum import Attribution
from captum_ext._text import reason
from captum_ext._typing import Forward
from captum_ext.curve import GaussianBlur
from captum_ext.metrics import ROAD, Deletion, Insertion, Localization, information_metrics
from captum_ext.registry import METHODS, METRICS, PRESETS, REFERENCES, Table

Columns: TypeAlias = dict[str, Metric | MetricCollection]
READINGS = {"": "sum", "_abs": "abs_sum"}
"""By suffix of a column, how channels become one number of a pixel.

Signed and absolute maps rank pixels very differently: both are shown.
"""
BLURRED = GaussianBlur(51, 50.0)


@dataclass(frozen=True)
class Reading:
    """How metrics are read, for who makes them.

    Args:
        reference: what replaces pixels in insertion and deletion, by its name in the command.
        preset: the name of a paper's settings, used by the metrics that know it.
        settings: what `register_preset` keeps for the metric under this name; None where the
            metric doesn't know it.
        seed: of the order among equals.
        internal_batch_size: frames per model call; None is a choice that bounds memory.
        answers: what the model's numbers are: "probability", or "score" for others.
    """

    reference: str = next(iter(REFERENCES))
    preset: str | None = None
    settings: Any = None
    seed: int = 0
    internal_batch_size: int | None = None
    answers: str = "probability"


Maker: TypeAlias = Callable[[Forward, Reading], Metric | MetricCollection | Columns]


def register_metric(name: str, make: Maker, *, overwrite: bool = False) -> None:
    """Gives a metric a name that ``--metrics`` of ``captum-ext evaluate`` understands.

    In the file of ``--model file.py:factory`` it is known as soon as the file is loaded.

    Args:
        name: as typed, a word without commas; also its column in tables.
        make: from the model and a `Reading` to a metric of torchmetrics, or to several by column.
            Its ``update`` is given what it asks for of ``inputs``, ``attributions``, ``target``
            and ``masks``.
        overwrite: whether the name may be taken from another metric.

    Raises:
        TypeError: if ``make`` can't be called.
        ValueError: if the name is taken.

    >>> from captum_ext.metrics import Insertion
    >>> register_metric("ratio", lambda model, how: Insertion(model, relative=True, seed=how.seed))
    >>> [*make_metrics(["ratio"], len, Reading())]
    ['ratio']
    """
    if not callable(make):
        raise TypeError(f"`make` makes the metric from a model, but got {type(make).__name__}.")
    METRICS.add(name, make, overwrite)


def register_preset(metric: str, name: str, settings: Any, *, overwrite: bool = False) -> None:
    """Gives settings of a metric a name, for ``--preset`` and the metric's ``from_preset``.

    Args:
        metric: a name of ``--metrics``.
        name: as typed, a word without commas. Several metrics may know one name.
        settings: of "insertion" and "deletion" arguments of the constructor, of "information" a
            `captum_ext.metrics.InformationProtocol`; a metric of your own finds them in
            `Reading.settings`.
        overwrite: whether the name may be taken from other settings of the metric.

    Raises:
        ValueError: if there is no such metric, or the name is taken.

    >>> register_preset("insertion", "coarse", {"n_steps": 5})
    >>> make_metrics(["insertion"], len, Reading(preset="coarse"))["insertion"].protocol["n_steps"]
    5
    """
    if metric not in METRICS:
        raise ValueError(f"`metric` is one of {', '.join(METRICS)}, but got {metric!r}.")
    PRESETS.setdefault(metric, Table(f"presets of {metric}")).add(name, settings, overwrite)


def insertion(model: Forward, reading: Reading) -> Columns:
    """Insertion, signed and absolute."""
    return _perturbation("insertion", Insertion, model, reading)


def deletion(model: Forward, reading: Reading) -> Columns:
    """Deletion, signed and absolute."""
    return _perturbation("deletion", Deletion, model, reading)


def _perturbation(name: str, kind: Any, model: Forward, reading: Reading) -> Columns:
    settings = {
        "reference": REFERENCES[reading.reference],
        **(reading.settings or {}),
        "seed": reading.seed,
        "internal_batch_size": reading.internal_batch_size,
        "reading": reading.answers,
    }
    return {
        f"{name}{suffix}": kind(model, **{**settings, "reduction": reduction})
        for suffix, reduction in READINGS.items()
    }


def road(model: Forward, reading: Reading) -> Columns:
    """ROAD in both orders, signed and absolute, by the probability: images are often few."""
    _require_probabilities("road", reading)
    settings: dict[str, Any] = {
        "reading": "probability",
        **(reading.settings or {}),
        "seed": reading.seed,
        "internal_batch_size": reading.internal_batch_size,
    }
    return {
        f"road_{order}{suffix}": ROAD(model, **{**settings, "order": order, "reduction": how})
        for order in ("morf", "lerf")
        for suffix, how in READINGS.items()
    }


def information(model: Forward, reading: Reading) -> Columns:
    """AIC and SIC at every level from one pass over the frames."""
    _require_probabilities("information", reading)
    made = information_metrics(
        model,
        preset=reading.settings or "idgi",
        internal_batch_size=reading.internal_batch_size,
        seed=reading.seed,
    )
    return {"information": made}


def _require_probabilities(name: str, reading: Reading) -> None:
    if reading.answers != "probability":
        raise ValueError(
            f"{name} reads probabilities, and the model's answers are read as {reading.answers}: "
            "leave it out, insertion and deletion read scores."
        )


def localization(model: Forward, reading: Reading) -> Columns:
    """How maps and annotated regions agree, signed and absolute."""
    return {
        f"localization{suffix}": Localization(reduction=reduction)
        for suffix, reduction in READINGS.items()
    }


def make_metrics(names: list[str], forward_func: Forward, reading: Reading) -> Columns:
    """The metrics of these names, by column.

    Raises:
        ValueError: for a name that is not registered, a preset that none of them knows, or two
            metrics that want one column.
        TypeError: if what a name makes is no metric.

    >>> [*make_metrics(["insertion"], len, Reading())]
    ['insertion', 'insertion_abs']
    """
    check_metrics(names, reading.preset)
    made: Columns = {}
    for name in names:
        columns = METRICS[name](forward_func, _settled(name, reading))
        if not isinstance(columns, dict):
            columns = {name: columns}
        for column, metric in columns.items():
            if not isinstance(metric, Metric | MetricCollection):
                raise TypeError(
                    f"`metrics`: {name!r} makes a {type(metric).__name__}, not a metric of "
                    "torchmetrics."
                )
            if column in made:
                raise ValueError(f"`metrics`: two metrics have the column {column!r}.")
            made[column] = metric
    return made


def _settled(name: str, reading: Reading) -> Reading:
    known = PRESETS.get(name)
    if known is None or reading.preset is None:
        return reading
    return replace(reading, settings=known.get(reading.preset))


def check_metrics(names: list[str], preset: str | None) -> None:
    """Raises ValueError for a name that is not registered, or a preset that none of them knows."""
    METRICS.require("metrics", names)
    if preset is not None and not any(preset in PRESETS.get(name, ()) for name in names):
        knowing = [name for name, known in PRESETS.items() if preset in known]
        raise ValueError(
            f"`preset` {preset!r} belongs to {knowing}, none of which is among the metrics {names}."
        )


class Unsuited(Attribution):
    """What stands for a method that can't be made for a model: it fails with the reason."""

    def __init__(self, forward_func: Forward, why: str) -> None:
        super().__init__(forward_func)
        self.why = why

    def attribute(self, inputs: Any, target: Any = None) -> Any:
        """Raises ValueError with the reason."""
        raise ValueError(self.why)


def named_methods(
    methods: Mapping[str, Attribution | str] | Sequence[str], forward_func: Forward
) -> dict[str, Attribution]:
    """Methods by name; those given by their name in the command are made for the model.

    Raises:
        ValueError: for a name that is not registered.
        TypeError: for what is neither names nor a mapping.
    """
    if isinstance(methods, str) or not isinstance(methods, Mapping | Sequence):
        raise TypeError(
            "`methods` are attribution methods by name, or names of the command, but got "
            f"{type(methods).__name__}."
        )
    if not isinstance(methods, Mapping):
        methods = {name: name for name in methods}
    names = [one for one in methods.values() if isinstance(one, str)]
    if names:
        METHODS.require("methods", names)
    return {
        label: _made(one, forward_func) if isinstance(one, str) else one
        for label, one in methods.items()
    }


def _made(name: str, forward_func: Forward) -> Attribution:
    try:
        made: Attribution = METHODS[name].make(forward_func)
    except Exception as error:
        return Unsuited(forward_func, reason(error))
    return made


def named_metrics(
    metrics: Mapping[str, Metric | MetricCollection] | Sequence[str],
    forward_func: Forward,
    reading: Reading,
    first: Tensor | None,
) -> Mapping[str, Metric | MetricCollection]:
    """Metrics by column; those given by their name in the command are made for the model.

    Args:
        metrics: by column, or names.
        forward_func: the model.
        reading: how they are read, but for what replaces features.
        first: the first example's input, if it is known: features of one that is no image are
            replaced by 0, not blurred.

    Raises:
        ValueError: for a name that is not registered.
        TypeError: for what is neither names nor a mapping.
    """
    if isinstance(metrics, Mapping):
        return metrics
    if isinstance(metrics, str) or not all(isinstance(name, str) for name in metrics):
        raise TypeError(
            f"`metrics` are metrics by column, or names of the command, but got {metrics!r:.80}."
        )
    image = first is None or (first.dim() == 3 and first.is_floating_point())
    how = replace(reading, reference="blur" if image else "black")
    return make_metrics([*metrics], forward_func, how)
