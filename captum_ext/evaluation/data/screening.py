"""Which examples are evaluated, of what class, and why others are not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from captum_ext._random import seeded
from captum_ext._tensors import require_scores
from captum_ext._text import number_of, reason
from captum_ext._typing import Forward
from captum_ext.classifier import (
    is_right,
    may_have_several,
    outside_unit,
    require_unit_images,
)
from captum_ext.evaluation.data.examples import Example
from captum_ext.evaluation.data.failures import stop_unless_its_own
from captum_ext.evaluation.data.given import Given, batched
from captum_ext.evaluation.data.items import Labels

WRONG = "not classified correctly"
"""Why an image is left out whose class the model does not see."""


@dataclass(frozen=True)
class Screened:
    """An example with its class and the model's answer; ``reason`` is why it is left out.

    ``given`` lies where the model is; it is the example's own where that is left out early.
    ``classes`` and ``probabilities`` are those of an example of several classes. ``regions`` has
    the annotated one of each class that is explained, (H, W), or nothing.
    """

    example: Example
    given: Given | None
    target: int | None
    prediction: int | None
    probability: float | None
    reason: str | None
    classes: tuple[int, ...] = ()
    probabilities: tuple[float, ...] = ()
    regions: tuple[Tensor, ...] = ()

    @property
    def pairs(self) -> list[Screened]:
        """Itself with each of its classes as the one to explain."""
        return [
            replace(self, target=k, regions=self.regions[place : place + 1])
            for place, k in enumerate(self.classes)
        ] or [self]

    @property
    def shares_region(self) -> bool:
        """Whether one annotated region stands for several classes."""
        mask = self.example.mask
        return mask is not None and len(self.classes) > 1 and not _is_by_class(mask)


def screen(
    forward_func: Forward,
    group: list[Example],
    only_correct: bool,
    unlabeled: str = "predict",
    scores: bool = False,
    seed: int = 0,
) -> list[Screened]:
    """Each example with the model's prediction; one forward pass each.

    The probability is that of the class that is explained; of ``scores``, which have no top
    class, the output's score.

    Raises:
        ValueError: if the model can't be right or wrong, or all of several images leave the
            [0, 1] of an `ImageClassifier`, as those of a normalized data set do.
    """
    images = [example.given.inputs[0] for example in group if example.given is not None]
    if len(images) > 1 and all(outside_unit(forward_func, image) for image in images):
        require_unit_images(forward_func, images)
    return [
        _screen(forward_func, example, only_correct, unlabeled, scores, seed) for example in group
    ]


def _screen(
    forward_func: Forward,
    example: Example,
    only_correct: bool,
    unlabeled: str,
    scores: bool,
    seed: int,
) -> Screened:
    given = example.given
    if given is None:
        return _out(example, None, f"{example.failure}")
    if example.target is None and unlabeled == "skip" and not scores:
        return _out(example, given, "no label")
    if isinstance(forward_func, nn.Module):
        given = given.to(device_of(forward_func))
    unfit = _unfit(forward_func, example, given)
    if unfit:
        return _out(example, given, unfit)
    try:
        # One at a time: an answer must not depend on the others in a group.
        with seeded(seed, given.inputs[0].device):
            answer = _answer(forward_func, given)
    except Exception as error:
        stop_unless_its_own(error, f"example {example.position}")
        return _out(example, given, f"the model fails: {reason(error)}")
    found = _answered(forward_func, example, given, answer, only_correct, scores)
    return _with_regions(found, answer.shape[1] if answer.dim() == 2 else 1)


def _is_by_class(mask: Tensor) -> bool:
    return mask.dim() > 2 and len(mask) > 1


def _with_regions(found: Screened, n_classes: int) -> Screened:
    """The region of each class that is explained, of one mask for all or a mask for each."""
    mask, labels = found.example.mask, found.example.target
    if mask is None or found.reason is not None:
        return found
    explained = found.classes or (found.target,)
    if not _is_by_class(mask):
        return replace(found, regions=(mask,) * len(explained))
    own = labels.classes if isinstance(labels, Labels) else (found.target,)
    if len(mask) not in (n_classes, len(own)):
        return replace(
            found,
            reason=f"its masks are {len(mask)}, but it has {len(own)} of the model's "
            f"{number_of(n_classes, 'class', 'classes')}",
        )
    places = explained if len(mask) == n_classes else map(own.index, explained)
    return replace(found, regions=tuple(mask[k] for k in places))


def _answered(
    forward_func: Forward,
    example: Example,
    given: Given,
    answer: Any,
    only_correct: bool,
    scores: bool,
) -> Screened:
    if scores and require_scores(answer, 1).dim() == 1:
        # Nothing to choose from, so no target.
        return _of_answer(example, given, answer, None, answer)
    if require_scores(answer, 1).dim() != 2:
        raise ValueError(
            "`forward_func` must return one row of class scores per image; one score per example, "
            'as of a regression, is for reading="score".'
        )
    if isinstance(example.target, Labels) and not (scores and answer.shape[1] == 1):
        return _several(forward_func, example, given, answer[0], only_correct, scores)
    if scores:
        return _scored(example, given, answer[0])
    if not answer.isfinite().all():
        return _out(example, given, "the model answers nan or inf")
    prediction = int(answer[0].argmax())
    target = prediction if example.target is None else int(example.target)  # type: ignore[arg-type]
    n_classes = answer.shape[1]
    if not 0 <= target < n_classes:
        unfit = f"its class {target} is not one of the model's {n_classes}"
        if n_classes == 1:
            unfit = f"its class is {target}, but the model has one output: give two `class_names`"
        return Screened(example, given, target, prediction, None, unfit)
    if only_correct and n_classes == 1:
        raise ValueError(
            "`only_correct` needs two classes or more, but `forward_func` has one output: give "
            "`ImageClassifier` two `class_names`, so that labels 0 and 1 are targets."
        )
    wrong = only_correct and not is_right(forward_func, answer[0], target)
    missed = WRONG if wrong else None
    return Screened(example, given, target, prediction, float(answer[0, target]), missed)


def _unfit(forward_func: Forward, example: Example, given: Given) -> str | None:
    """Why inputs can't be explained; integers may be the ids of tokens, but no image."""
    word = "its image" if example.word == "image" else "an input"
    for x in given.inputs:
        if example.word == "image" and not x.is_floating_point():
            return f"its image is {x.dtype}, not floating point"
        if not x.isfinite().all():
            return f"{word} has nan or inf"
        if outside_unit(forward_func, x):
            return f"{word} leaves [0, 1]"
    return None


def _answer(forward_func: Forward, given: Given) -> Any:
    inputs, more = batched([given])
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    with torch.no_grad():
        # Stacked anew, so that a model that writes into them has no one else's.
        return forward_func(*tensors, *more.get("additional_forward_args", ()))


def _scored(example: Example, given: Given, answer: Tensor) -> Screened:
    """An example of which one score is explained: the only one, or that which is numbered."""
    n = len(answer)
    target = 0 if n == 1 else example.target
    if target is None or not (isinstance(target, int) and 0 <= target < n):
        said = "has no number" if target is None else f"is {target}"
        return _out(example, given, f"the output to explain {said}, and the model has {n}")
    return _of_answer(example, given, answer, target, answer[target])


def _several(
    forward_func: Forward,
    example: Example,
    given: Given,
    answer: Tensor,
    only_correct: bool,
    scores: bool,
) -> Screened:
    """An example of several classes, of which the right ones are explained; or of none."""
    labels, n = example.target, len(answer)
    assert isinstance(labels, Labels), "other targets are one class"
    if not answer.isfinite().all():
        return _out(example, given, "the model answers nan or inf")
    if not labels.classes:
        return _out(example, given, "no label")
    if labels.of not in (None, n):
        return _out(example, given, f"its vector is of {labels.of} classes, the model's are {n}")
    unknown = [k for k in labels.classes if not 0 <= k < n]
    if unknown:
        return _out(example, given, f"its class {unknown[0]} is not one of the model's {n}")
    if not scores and len(labels.classes) > 1 and not may_have_several(forward_func, answer):
        raise ValueError(
            f"`data` gives example {example.position} the classes {[*labels.classes]}, but "
            "those of `forward_func` exclude one another, as far as it says: several are for an "
            '`ImageClassifier` with activation="sigmoid", or None where it gives probabilities '
            "itself."
        )
    several = len(labels.classes) > 1
    kept = tuple(
        k
        for k in labels.classes
        if not only_correct or (answer[k] >= 0.5 if several else is_right(forward_func, answer, k))
    )
    prediction = None if scores else int(answer.argmax())
    if not kept:
        first = labels.classes[0]
        return Screened(example, given, first, prediction, float(answer[first]), WRONG)
    found = tuple(float(answer[k]) for k in kept)
    more = (kept, found) if len(kept) > 1 else ()
    return Screened(example, given, kept[0], prediction, found[0], None, *more)


def _of_answer(
    example: Example, given: Given, answer: Tensor, target: int | None, score: Tensor
) -> Screened:
    if not answer.isfinite().all():
        return _out(example, given, "the model answers nan or inf")
    return Screened(example, given, target, None, float(score), None)


def _out(example: Example, given: Given | None, reason: str) -> Screened:
    target = example.target if isinstance(example.target, int) else None
    return Screened(example, given, target, None, None, reason)


def device_of(forward_func: Forward) -> torch.device:
    """Where a module's parameters or buffers are; of a function, where tensors are made."""
    if isinstance(forward_func, nn.Module):
        for tensor in chain(forward_func.parameters(), forward_func.buffers()):
            return tensor.device
    return torch.empty(0).device
