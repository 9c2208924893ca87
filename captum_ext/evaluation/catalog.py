"""The metrics that the command knows by name, and how a user's own gets one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torchmetrics import Metric, MetricCollection

from captum_ext._typing import Forward
from captum_ext.curve import GaussianBlur
from captum_ext.metrics import ROAD, Deletion, Insertion, Localization, information_metrics
from captum_ext.registry import METRICS, PRESETS, REFERENCES, Table

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
