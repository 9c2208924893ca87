"""Several methods on one image: maps, scores and costs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
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
from captum_ext.cli.explanation.reading import read_all
from captum_ext.cli.explanation.result import Result
from captum_ext.cli.options import Explain
from captum_ext.evaluation.cost import Cost, Counted, measured
from captum_ext.evaluation.run import quiet
from captum_ext.mask.advanced import Descent
from captum_ext.metrics.base.asked_once import AskedOnce


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
    found = [{name: rows[k] for name, rows in made.items()} for k in range(len(targets))]
    read_all([[*of.values()] for of in found], asked, image, targets, settings)
    return found


def _parts(n: int, size: int) -> list[slice]:
    """As many classes at once as rows may go through the model."""
    return [slice(k, k + size) for k in range(0, n, size)]


def _told(work: Work, counted: Counted, n: int) -> None:
    """Says how many evaluations the maps at hand have taken so far."""
    cost = counted.cost
    work.tell(number_of(cost.forwards + cost.gradients, "evaluation"))


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
