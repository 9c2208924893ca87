"""The curves of all maps of one image, whose frames share model calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature

from torch import Tensor

from captum_ext._progress import Work
from captum_ext._random import seeded
from captum_ext._text import reason
from captum_ext.cli.explanation.result import CURVES, SCORES, Result
from captum_ext.cli.options import Explain
from captum_ext.evaluation.catalog import READINGS
from captum_ext.metrics import Insertion
from captum_ext.metrics.base.asked_once import AskedOnce
from captum_ext.metrics.perturbation.perturb import Perturbation, perturb_all
from captum_ext.registry import REFERENCES

N_STEPS: int = signature(Insertion).parameters["n_steps"].default
"""Of a curve: the library's own."""


def read_all(
    results: Sequence[Sequence[Result]],
    asked: AskedOnce,
    image: Tensor,
    targets: Sequence[int],
    settings: Explain,
) -> None:
    """Fills in the curves of every map; one that fails says why, others are unaffected.

    Args:
        results: of all methods, for each class.
        asked: the model, with what it has answered so far.
        image: (1, C, H, W).
        targets: the classes.
        settings: of the command.
    """
    n_made = sum(one.attributions is not None for of in results for one in of)
    with _frames_shown(asked, n_made * len(SCORES) * (N_STEPS + 1)):
        for of, target in zip(results, targets, strict=True):
            with seeded(settings.seed, image.device):
                _read_or_tell(of, asked, image, target, settings)


@contextmanager
def _frames_shown(asked: AskedOnce, n_frames: int) -> Iterator[None]:
    """Shows how many frames of curves are read, those that need no asking among them."""
    with Work(n_frames, "frame", "insertion and deletion") as work:
        hook = asked.register_forward_hook(lambda model, given, found: work.update(len(found)))
        try:
            yield
        finally:
            hook.remove()


def _read_or_tell(
    results: Sequence[Result], asked: AskedOnce, image: Tensor, target: int, settings: Explain
) -> None:
    """The curves of all maps of a class; where they fail, of each map by itself."""
    try:
        _read_curves(results, asked, image, target, settings)
    except Exception:
        for result in results:
            try:
                _read_curves([result], asked, image, target, settings)
            except Exception as error:
                result.problem = reason(error)


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
        for name, inserts in CURVES.items()
    }
    made = [(r, r.attributions) for r in results if r.attributions is not None]
    jobs = [(way, credit) for _, credit in made for way in ways.values()]
    curves = iter(perturb_all(jobs, model, image, target=target) if jobs else ())
    for result, _ in made:
        result.curves = {name: next(curves)[0] for name in ways}
