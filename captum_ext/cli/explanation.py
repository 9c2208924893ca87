"""Several methods on one image: maps, scores and costs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from captum_ext._memory import default_chunk
from captum_ext._progress import Work
from captum_ext._random import seeded
from captum_ext._text import number_of, reason
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
            "forwards": round(self.cost.forwards, 3),
            "gradients": round(self.cost.gradients, 3),
            "shared_with": [*self.shared_with],
            "reason": self.problem,
        }


def attribute_all(
    methods: Mapping[str, Configured],
    labels: Mapping[str, str],
    counted: Counted,
    asked: AskedOnce,
    image: Tensor,
    targets: Sequence[int],
    settings: Explain,
) -> list[dict[str, Result]]:
    """What each method gives for each class; one that fails says why, others are unaffected.

    Args:
        methods: made for ``counted``, or for ``asked``.
        labels: how they are shown.
        counted: the model.
        asked: the same for curves, with what it has answered so far.
        image: (1, C, H, W).
        targets: the classes to explain, as rows of one batch.
        settings: of the command.

    Returns:
        Results by method, for each class.
    """
    chunk = settings.batch_size or default_chunk((image,))
    options = {
        "internal_batch_size": chunk,
        "perturbations_per_eval": chunk,
        "seed": settings.seed,
    }
    job = _Job(counted, image, targets, options)
    made = {
        name: [Result(labels[name], answers=settings.answers) for _ in targets] for name in methods
    }
    with Work(len(methods), "map") as work:
        counted.watch = partial(_told, work, counted)
        for group in shared_walks([*methods.values()]):
            walkers = {name: methods[name] for k, name in enumerate(methods) if k in group}
            work.begin(", ".join(labels[name] for name in walkers))
            for part in _parts(len(targets), chunk):
                rows = {name: made[name][part] for name in walkers}
                _explain(rows, walkers, job.only(part))
            work.update(len(walkers))
    counted.watch = None
    n_made = sum(r.attributions is not None for rows in made.values() for r in rows)
    with _frames_shown(asked, n_made * len(SCORES) * (N_STEPS + 1)):
        for k, target in enumerate(targets):
            with seeded(settings.seed, image.device):
                _read_or_tell([rows[k] for rows in made.values()], asked, image, target, settings)
    return [{name: rows[k] for name, rows in made.items()} for k in range(len(targets))]


def _parts(n: int, size: int) -> list[slice]:
    """As many classes at once as rows may go through the model."""
    return [slice(k, k + size) for k in range(0, n, size)]


def _told(work: Work, counted: Counted, n: int) -> None:
    """Says how many evaluations the maps at hand have taken so far."""
    cost = counted.cost
    work.tell(number_of(cost.forwards + cost.gradients, "evaluation"))


@contextmanager
def _frames_shown(asked: AskedOnce, n_frames: int) -> Iterator[None]:
    """Shows how many frames of curves are read, those that need no asking among them."""
    with Work(n_frames, "frame", "insertion and deletion") as work:
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


@dataclass(frozen=True)
class _Job:
    """What is explained: classes of an image, and how each method is asked."""

    counted: Counted
    image: Tensor
    targets: Sequence[int]
    options: dict[str, Any]

    def only(self, part: slice) -> _Job:
        return replace(self, targets=self.targets[part])

    def batch(self) -> tuple[Tensor, int | Tensor]:
        """The image as a row for each class, and the classes."""
        n = len(self.targets)
        if n == 1:
            return self.image, self.targets[0]
        rows = self.image.repeat(n, 1, 1, 1)
        return rows, torch.tensor(self.targets, device=self.image.device)


class _DrawsError(Exception):
    """Rows of a batch would get other random numbers than each alone."""


def _explain(
    rows: Mapping[str, list[Result]], methods: Mapping[str, Configured], job: _Job
) -> None:
    """The maps of methods that share a walk, of all classes at once.

    Where that fails, of each class by itself, and where that fails, of each method by itself.
    """
    n = len(job.targets)
    try:
        _explain_at_once(rows, methods, job)
    except Exception as error:
        if n > 1:
            for part in _parts(n, 1):
                own = {name: results[part] for name, results in rows.items()}
                _explain(own, methods, job.only(part))
        elif len(methods) > 1:
            for name, method in methods.items():
                _explain({name: rows[name]}, {name: method}, job)
        else:
            ((result,),) = rows.values()
            result.problem = reason(error)


def _explain_at_once(
    rows: Mapping[str, list[Result]], methods: Mapping[str, Configured], job: _Job
) -> None:
    n = len(job.targets)
    label = ", ".join(own[0].label for own in rows.values())
    with _explaining(label, job) as cost:
        for own in rows.values():
            own[0].cost = cost
        maps, descent = _made([*methods.values()], job)
    checked = [[_checked(credit) for credit in _rows_of(one, n)] for one in maps]
    for name, credits in zip(methods, checked, strict=True):
        others = tuple(other for other in methods if other != name)
        for k, (result, credit) in enumerate(zip(rows[name], credits, strict=True)):
            result.attributions, result.cost = credit, _share(cost, n)
            result.shared_with = others
            result.descent = None if descent is None else _of_row(descent, k)


def _made(methods: Sequence[Configured], job: _Job) -> tuple[Sequence[Any], Descent | None]:
    """A map by each method for a row of each class, and the history of an optimized mask."""
    taken = accepted(methods[0], job.options)
    inputs, target = job.batch()
    if len(methods) > 1:
        return walk(methods, inputs, target=target, **taken), None
    (method,) = methods
    inner = method.method
    if isinstance(inner, MaskAttribution):
        found = inner.optimize(inputs, target=target, **{**method.options, **taken})
        return [found.attributions], found.descent
    return [method.attribute(inputs, target=target, **taken)], None


def _share(cost: Cost, n: int) -> Cost:
    """Of what ``n`` rows took, that of one."""
    if n == 1:
        return cost
    return replace(
        cost, seconds=cost.seconds / n, forwards=cost.forwards / n, gradients=cost.gradients / n
    )


def _rows_of(credit: Any, n: int) -> Sequence[Any]:
    if n == 1 or not isinstance(credit, Tensor):
        return [credit]
    return [credit[k : k + 1] for k in range(n)]


def _of_row(descent: Descent, k: int) -> Descent:
    """How the masks of one row were optimized."""
    row = slice(k, k + 1)
    return Descent(
        descent.masks[row], descent.objective[:, row], descent.forwards[:, row],
        descent.length[:, row], descent.trials[:, row],
    )  # fmt: skip


@contextmanager
def _explaining(label: str, job: _Job) -> Iterator[Cost]:
    """All that surrounds an explanation: warnings said, the random state, and the cost.

    Raises:
        _DrawsError: several classes drew from one global random state.
    """
    with (
        told_warnings(label),
        seeded(job.options["seed"], job.image.device) as drawn,
        quiet(),
        measured(job.counted) as cost,
    ):
        yield cost
        if len(job.targets) > 1 and drawn():
            raise _DrawsError


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


def _read_or_tell(
    results: Sequence[Result], asked: AskedOnce, image: Tensor, target: int, settings: Explain
) -> None:
    """The curves of all maps of a class; where they fail, of each map by itself."""
    try:
        _read_curves(results, asked, image, target, settings)
    except Exception:
        for result in results:
            with _problem_told(result):
                _read_curves([result], asked, image, target, settings)


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
