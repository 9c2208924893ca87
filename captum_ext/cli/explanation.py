"""Several methods on one image: maps, scores and costs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any

from torch import Tensor

from captum_ext._memory import default_chunk
from captum_ext._progress import Work
from captum_ext._random import seeded
from captum_ext._text import reason
from captum_ext.attr import Configured, MaskAttribution
from captum_ext.attr.configured import accepted
from captum_ext.attr.walk import shared_walks, walk
from captum_ext.cli.errors import say
from captum_ext.cli.options import PROBABILITY, SCORE, Explain
from captum_ext.curve import Curve
from captum_ext.evaluation.catalog import READINGS
from captum_ext.evaluation.cost import Cost, Counted, measured
from captum_ext.evaluation.run import quiet
from captum_ext.mask.advanced import Descent
from captum_ext.metrics import Insertion
from captum_ext.metrics.base.asked_once import AskedOnce
from captum_ext.metrics.perturbation.perturb import Perturbation, perturb_all
from captum_ext.registry import REFERENCES

RESTORED, LOST = 0.9, 0.5
"""Shares of the image's score that an insertion must bring back, and a deletion leave."""
_CURVES = {"insertion": True, "deletion": False}
"""Whether features come or go."""
_REACHED = [
    ("area_to_restore", "insertion", -1, RESTORED),
    ("area_to_lose", "deletion", 0, LOST),
]
SCORES = tuple(f"{name}{suffix}" for suffix in READINGS for name in _CURVES)
"""What is read of every map, by the names of the table."""
N_STEPS: int = signature(Insertion).parameters["n_steps"].default
"""Of a curve: the library's own."""


@dataclass
class Result:
    """What a method gave: a map of the image, its scores and its cost, as far as it came.

    Args:
        label: how the method is shown.
        attributions: the map, (1, C, H, W); None if it failed.
        curves: by the names of ``SCORES``; empty if they can't be read.
        cost: of the map.
        shared_with: the names of methods that the walk, and so its cost, was for too.
        descent: how its mask was optimized, if it has one.
        problem: why something of it is missing.
        answers: what the model's numbers are.
    """

    label: str
    attributions: Tensor | None = None
    curves: dict[str, Curve] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    shared_with: tuple[str, ...] = ()
    descent: Descent | None = None
    problem: str | None = None
    answers: str = PROBABILITY

    def reach(self) -> dict[str, float | None]:
        """The share of pixels that restores 90 % of the score, and that halves it.

        By the readings of a map; None where the curve never gets there or there is none, and of
        scores that are no probabilities: a share of them says nothing where 0 is not "none".
        """
        found = {}
        for suffix in READINGS:
            for name, curve, original, level in _REACHED:
                whole = self.curves.get(f"{curve}{suffix}")
                if whole is None or self.answers == SCORE:
                    x = float("nan")
                else:
                    x = float(whole.relative(original).reaches(level, falling=original == 0))
                found[f"{name}{suffix}"] = x if x == x else None
        return found

    def record(self, name: str) -> dict[str, Any]:
        """A row of the table."""
        areas = {key: round(float(curve.area()), 6) for key, curve in self.curves.items()}
        return {
            "method": name,
            **{key: areas.get(key) for key in SCORES},
            **{key: None if x is None else round(x, 6) for key, x in self.reach().items()},
            "seconds": round(self.cost.seconds, 3),
            "forwards": self.cost.forwards,
            "gradients": self.cost.gradients,
            "shared_with": [*self.shared_with],
            "reason": self.problem,
        }


def attribute_all(
    methods: Mapping[str, Configured],
    labels: Mapping[str, str],
    counted: Counted,
    asked: AskedOnce,
    image: Tensor,
    target: int,
    settings: Explain,
) -> dict[str, Result]:
    """What each method gives; one that fails says why, and the others are unaffected.

    Args:
        methods: made for ``counted``.
        labels: how they are shown.
        counted: the model.
        asked: the same for curves, with what it has answered so far.
        image: (1, C, H, W).
        target: the class to explain.
        settings: of the command.
    """
    chunk = settings.batch_size or default_chunk((image,))
    options = {
        "internal_batch_size": chunk,
        "perturbations_per_eval": chunk,
        "seed": settings.seed,
    }
    results = {name: Result(labels[name], answers=settings.answers) for name in methods}
    with Work(len(methods), "maps") as work:
        counted.watch = partial(_told, work, counted)
        for group in shared_walks([*methods.values()]):
            walkers = {name: methods[name] for k, name in enumerate(methods) if k in group}
            work.begin(", ".join(labels[name] for name in walkers))
            if len(walkers) > 1:
                _explain_together(results, walkers, counted, image, target, options)
            for name, method in walkers.items():
                if results[name].attributions is None:
                    with _problem_told(results[name]):
                        _explain(results[name], method, counted, image, target, options)
            work.update(len(walkers))
    counted.watch = None
    n_made = sum(result.attributions is not None for result in results.values())
    with _frames_shown(asked, n_made * len(SCORES) * (N_STEPS + 1)):
        try:
            _read_curves([*results.values()], asked, image, target, settings)
        except Exception:
            for result in results.values():
                with _problem_told(result):
                    _read_curves([result], asked, image, target, settings)
    return results


def _told(work: Work, counted: Counted, n: int) -> None:
    """Says how many evaluations the maps at hand have taken so far."""
    cost = counted.cost
    work.tell(f"{cost.forwards + cost.gradients} evaluations")


@contextmanager
def _frames_shown(asked: AskedOnce, n_frames: int) -> Iterator[None]:
    """Shows how many frames of curves are read, those that need no asking among them."""
    with Work(n_frames, "frames", "insertion and deletion") as work:
        hook = asked.register_forward_hook(lambda model, given, found: work.update(len(found)))
        try:
            yield
        finally:
            hook.remove()


@contextmanager
def _problem_told(result: Result) -> Iterator[None]:
    """A failure is its result's own matter."""
    try:
        yield
    except Exception as error:
        result.problem = reason(error)


def _explain_together(
    results: Mapping[str, Result],
    methods: Mapping[str, Configured],
    counted: Counted,
    image: Tensor,
    target: int,
    options: dict[str, Any],
) -> None:
    """The maps of methods that share a walk; none of them if one fails, which is told by itself."""
    taken = accepted(next(iter(methods.values())), options)
    label = ", ".join(results[name].label for name in methods)
    try:
        with _explaining(label, options["seed"], image, counted) as cost:
            found = walk([*methods.values()], image, target=target, **taken)
        maps = [_checked(credit) for credit in found]
    except Exception:
        return
    for name, credit in zip(methods, maps, strict=True):
        others = tuple(other for other in methods if other != name)
        results[name].attributions, results[name].cost = credit, cost
        results[name].shared_with = others


def _explain(
    result: Result,
    method: Configured,
    counted: Counted,
    image: Tensor,
    target: int,
    options: dict[str, Any],
) -> None:
    """The map, and the history of an optimized mask."""
    taken = accepted(method, options)
    inner = method.method
    with _explaining(result.label, options["seed"], image, counted) as cost:
        result.cost = cost
        if isinstance(inner, MaskAttribution):
            found = inner.optimize(image, target=target, **{**method.options, **taken})
            credit, result.descent = found.attributions, found.descent
        else:
            credit = method.attribute(image, target=target, **taken)
    result.attributions = _checked(credit)


@contextmanager
def _explaining(label: str, seed: int, image: Tensor, counted: Counted) -> Iterator[Cost]:
    """All that surrounds an explanation: warnings said, the random state, and the cost."""
    with told_warnings(label), seeded(seed, image.device), quiet(), measured(counted) as cost:
        yield cost


def _checked(credit: Any) -> Tensor:
    if not isinstance(credit, Tensor):
        raise TypeError(f"its attribution is not one map but {type(credit).__name__}")
    if not credit.isfinite().all():
        raise ValueError("its map holds nan or infinite values")
    return credit.detach()


@contextmanager
def told_warnings(label: str) -> Iterator[None]:
    """Says what is warned of within, in a sentence instead of lines of source."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        finally:
            for sentence in dict.fromkeys(str(one.message) for one in caught):
                say(f"{label}: {sentence}")


def _read_curves(
    results: Sequence[Result], model: AskedOnce, image: Tensor, target: int, settings: Explain
) -> None:
    """Fills in the curves of all maps, whose frames share model calls."""
    how = {
        "n_steps": N_STEPS,
        "reference": REFERENCES[settings.reference],
        "seed": settings.seed,
        "internal_batch_size": settings.batch_size,
        "reading": settings.answers,
    }
    ways = {
        f"{name}{suffix}": Perturbation(inserts=inserts, reduction=reduction, **how)
        for suffix, reduction in READINGS.items()
        for name, inserts in _CURVES.items()
    }
    made = [(r, r.attributions) for r in results if r.attributions is not None]
    jobs = [(way, credit) for _, credit in made for way in ways.values()]
    curves = iter(perturb_all(jobs, model, image, target=target) if jobs else ())
    for result, _ in made:
        result.curves = {name: next(curves)[0] for name in ways}
