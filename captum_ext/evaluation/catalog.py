"""The metrics that the command knows by name; one line registers one."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, TypeAlias

from torchmetrics import Metric, MetricCollection

from captum_ext._typing import Forward
from captum_ext.curve import GaussianBlur
from captum_ext.metrics import (
    INFORMATION_PRESETS,
    Deletion,
    Insertion,
    Localization,
    information_metrics,
)

REFERENCES: dict[str, Any] = {"blur": GaussianBlur(51, 50.0), "black": 0.0}


@dataclass(frozen=True)
class Reading:
    """How metrics are read.

    Args:
        reference: what replaces pixels in insertion and deletion, a key of ``REFERENCES``.
        preset: a paper's settings, used by the metrics that know it.
        seed: of the order among equals.
        internal_batch_size: frames per model call.
    """

    reference: str = "blur"
    preset: str | None = None
    seed: int = 0
    internal_batch_size: int | None = None


Maker: TypeAlias = Callable[[Forward, Reading], dict[str, Metric | MetricCollection]]
METRICS: dict[str, Maker] = {}
"""From a name to the metrics it stands for, by column."""


def _perturbation(name: str, kind: Any) -> Maker:
    def make(forward_func: Forward, reading: Reading) -> dict[str, Metric | MetricCollection]:
        known = reading.preset in kind.PRESETS
        settings = dict(kind.PRESETS[reading.preset]) if known else {}
        settings.setdefault("reference", REFERENCES[reading.reference])
        settings |= {
            "seed": reading.seed,
            "internal_batch_size": reading.internal_batch_size,
        }
        # Signed and absolute maps rank pixels very differently: both are shown.
        return {
            name: kind(forward_func, **{**settings, "reduction": "sum"}),
            f"{name}_abs": kind(forward_func, **{**settings, "reduction": "abs_sum"}),
        }

    return make


METRICS["insertion"] = _perturbation("insertion", Insertion)
METRICS["deletion"] = _perturbation("deletion", Deletion)


def _information(forward_func: Forward, reading: Reading) -> dict[str, Metric | MetricCollection]:
    preset = reading.preset if reading.preset in INFORMATION_PRESETS else "idgi"
    made = information_metrics(
        forward_func,
        preset=preset,
        internal_batch_size=reading.internal_batch_size,
        seed=reading.seed,
    )
    return {"information": made}


METRICS["information"] = _information
METRICS["localization"] = lambda forward_func, reading: {
    "localization": Localization(),
    "localization_abs": Localization(reduction="abs_sum"),
}


PRESETS: dict[str, Container[str]] = {
    "insertion": Insertion.PRESETS,
    "deletion": Deletion.PRESETS,
    "information": INFORMATION_PRESETS,
}
"""The papers' settings that a name's metrics know."""


def make_metrics(
    names: list[str], forward_func: Forward, reading: Reading
) -> dict[str, Metric | MetricCollection]:
    """The metrics of these names, by column.

    Raises:
        ValueError: for a name that is not registered, or a preset that none of them knows.

    >>> [*make_metrics(["insertion"], len, Reading())]
    ['insertion', 'insertion_abs']
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise ValueError(f"`metrics` are among {', '.join(METRICS)}, but got {unknown or names}.")
    preset = reading.preset
    if preset is not None and not any(preset in PRESETS.get(name, ()) for name in names):
        knowing = [name for name, known in PRESETS.items() if preset in known]
        raise ValueError(
            f"`preset` {preset!r} belongs to {knowing}, none of which is among the metrics {names}."
        )
    made: dict[str, Metric | MetricCollection] = {}
    for name in names:
        made |= METRICS[name](forward_func, reading)
    return made
