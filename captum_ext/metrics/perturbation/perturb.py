"""`perturb`: the curve of the model's answer while ranked features come or go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict

import torch
from torch import Tensor

from captum_ext._numbers import whole
from captum_ext._tensors import format_inputs
from captum_ext._typing import Baselines, FeatureMask, Forward, Inputs, Target, Tensors
from captum_ext.classifier import require_unit_images
from captum_ext.curve import Constant, Curve, rank
from captum_ext.curve.bases import BaseLike, Shown, as_base
from captum_ext.curve.frames import Joined, even_counts, read
from captum_ext.curve.ranking import REDUCTIONS, Ranking
from captum_ext.curve.response import element_share, share
from captum_ext.metrics.base.checks import format_attributions, require_probabilities
from captum_ext.metrics.base.example import Reason, coded
from captum_ext.score import Score

Reference: TypeAlias = BaseLike
UNITS = {"features": share, "elements": element_share}
"""What the curve's x counts: features, a group as one, or the elements (pixels) they hold."""


READINGS = ("probability", "score")


class NoCurve(Reason):
    """Why an example has no curve of insertion or deletion."""

    NOT_FINITE_ATTRIBUTION = "attributions not finite"
    NOT_FINITE_ANSWER = "model's answer not finite"
    NO_ORIGINAL = "original scores 0"


class Settings(TypedDict, total=False):
    """The settings by their names, for signatures that hand them on."""

    n_steps: int
    relative: bool
    reduction: str
    reference: Reference
    seed: int
    internal_batch_size: int | None
    unit: str
    base: BaseLike | None
    reading: str


@dataclass(frozen=True)
class Perturbation:
    """How insertion and deletion are run: the settings of `Insertion` and `Deletion`."""

    inserts: bool
    n_steps: int = 20
    relative: bool = False
    reduction: str = "sum"
    reference: Reference = 0.0
    seed: int = 0
    internal_batch_size: int | None = None
    unit: str = "features"
    base: BaseLike | None = None
    reading: str = "probability"

    def __post_init__(self) -> None:
        if self.reading not in READINGS:
            raise ValueError(f"`reading` is one of {[*READINGS]}, but got {self.reading!r}.")
        if self.relative and self.reading != "probability":
            raise ValueError(
                "`relative` divides by the answer to the original, which says something of "
                f"probabilities alone, but `reading` is {self.reading!r}."
            )
        if self.unit not in UNITS:
            raise ValueError(f"`unit` is one of {[*UNITS]}, but got {self.unit!r}.")
        if whole("n_steps", self.n_steps) < 1:
            raise ValueError(f"`n_steps` counts steps, at least 1, but got {self.n_steps}.")
        if self.reduction not in REDUCTIONS:
            raise ValueError(f"`reduction` is one of {[*REDUCTIONS]}, but got {self.reduction!r}.")
        if self.base is not None and self.reference != 0.0:
            raise ValueError("`base` and `reference` are two names of one thing: pass one.")
        as_base(self.absent, "reference" if self.base is None else "base")

    @property
    def absent(self) -> BaseLike:
        """What is shown where features are absent, as it was given."""
        return self.reference if self.base is None else self.base

    @property
    def label(self) -> str:
        """What is read from the model, in words."""
        return f"{self.reading} ratio" if self.relative else self.reading

    @property
    def protocol(self) -> dict[str, Any]:
        """The settings that decide the number."""
        return {
            "reading": self.label,
            "n_steps": self.n_steps,
            "unit": self.unit,
            "reduction": self.reduction,
            "ties": f"shuffled with seed {self.seed}",
            "area": "trapezoid",
        }


def describe(reference: Reference) -> str:
    """A reference in words, for `protocol`."""
    if isinstance(reference, int | float):
        return f"constant {float(reference):g}"
    return getattr(reference, "__qualname__", None) or repr(reference)


def perturb(
    how: Perturbation,
    forward_func: Forward,
    inputs: Inputs,
    attributions: Inputs,
    baselines: Baselines = None,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: FeatureMask = None,
) -> tuple[Curve, Tensor]:
    """The curve of every example, and why it is undefined (0: it isn't)."""
    data = (inputs, baselines, target, additional_forward_args, feature_mask)
    return perturb_all([(how, attributions)], forward_func, *data)[0]


def perturb_all(
    jobs: Sequence[tuple[Perturbation, Inputs]],
    forward_func: Forward,
    inputs: Inputs,
    baselines: Baselines = None,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: FeatureMask = None,
) -> list[tuple[Curve, Tensor]]:
    """`perturb` of several settings and attributions of the same examples, in common calls.

    Args:
        jobs: settings and attributions, with one number of steps, chunk and reading.
        forward_func, inputs, baselines, target, additional_forward_args, feature_mask: as of
            `Insertion` and its ``update``.
    """
    first, _ = jobs[0]
    tensors = format_inputs(inputs, needs_gradient=False)
    require_unit_images(forward_func, tensors)
    score = Score(
        forward_func,
        tensors,
        target,
        additional_forward_args,
        chunk=first.internal_batch_size,
        keep_undefined=True,
    )
    with score.borrowed():
        masked = feature_mask is not None
        maps = [format_attributions(given, tensors, masked) for _, given in jobs]
        rankings = [
            rank(credit, feature_mask, how.reduction, how.seed)
            for (how, _), (credit, _) in zip(jobs, maps, strict=True)
        ]
        rows = [
            _frames(how, ranking, tensors, baselines)
            for (how, _), ranking in zip(jobs, rankings, strict=True)
        ]
        ask = lambda points, rows: score(points, rows % score.n_examples)  # noqa: E731
        (answers,) = read(Joined(rows), [ask], score.chunk)
        if first.reading == "probability":
            require_probabilities(answers)
        return [
            _curve(how, _changed(how, ranking), y, finite)
            for (how, _), ranking, y, (_, finite) in zip(
                jobs, rankings, torch.split(answers, score.n_examples), maps, strict=True
            )
        ]


def _frames(how: Perturbation, ranking: Ranking, inputs: Tensors, baselines: Baselines) -> Shown:
    base = as_base(how.absent) if baselines is None else Constant(baselines)
    counts = even_counts(ranking.n_features, how.n_steps)
    # Exact with ties too: the places are whole numbers, the reversal breaks none anew.
    order = ranking if how.inserts else ranking.reversed()
    shown = counts if how.inserts else ranking.n_features[:, None] - counts
    return Shown(base.frames(inputs, order, shown), inputs, shown)


def _changed(how: Perturbation, ranking: Ranking) -> Tensor:
    """The curve's x, (N, points)."""
    return UNITS[how.unit](ranking, even_counts(ranking.n_features, how.n_steps))


def _curve(how: Perturbation, x: Tensor, y: Tensor, finite: Tensor) -> tuple[Curve, Tensor]:
    original = -1 if how.inserts else 0
    codes = coded(
        (how.relative & (y[:, original] == 0), NoCurve.NO_ORIGINAL),
        (~y.isfinite().all(1), NoCurve.NOT_FINITE_ANSWER),
        (~finite, NoCurve.NOT_FINITE_ATTRIBUTION),
    )
    y = y.masked_fill((codes != 0)[:, None], torch.nan)
    curve = Curve(x, y)
    return curve.relative(original) if how.relative else curve, codes
