"""Which examples are evaluated, of what class, and why others are not."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from captum_ext._tensors import require_scores
from captum_ext._text import reason
from captum_ext._typing import Forward
from captum_ext.classifier import is_right, outside_unit, require_unit_images
from captum_ext.evaluation.data.examples import Example
from captum_ext.evaluation.data.failures import stop_unless_its_own


@dataclass(frozen=True)
class Screened:
    """An example with its class and the model's answer; ``reason`` is why it is left out."""

    example: Example
    image: Tensor
    target: int | None
    prediction: int | None
    probability: float | None
    reason: str | None


def screen(
    forward_func: Forward,
    group: list[Example],
    only_correct: bool,
    unlabeled: str = "predict",
    scores: bool = False,
) -> list[Screened]:
    """Each example with the model's prediction; one forward pass each.

    The probability is that of the class that is explained; of ``scores``, which have no top
    class, the output's score.

    Raises:
        ValueError: if the model can't be right or wrong, or all of several images leave the
            [0, 1] of an `ImageClassifier`, as those of a normalized data set do.
    """
    images = [example.image for example in group if example.image is not None]
    if len(images) > 1 and all(outside_unit(forward_func, image) for image in images):
        require_unit_images(forward_func, images)
    return [_screen(forward_func, example, only_correct, unlabeled, scores) for example in group]


def _screen(
    forward_func: Forward, example: Example, only_correct: bool, unlabeled: str, scores: bool
) -> Screened:
    if example.image is None:
        return _out(example, torch.empty(0), f"{example.failure}")
    image = example.image
    if example.target is None and unlabeled == "skip" and not scores:
        return _out(example, image, "no label")
    if isinstance(forward_func, nn.Module):
        image = image.to(device_of(forward_func))
    if not image.is_floating_point():
        return _out(example, image, f"its image is {image.dtype}, not floating point")
    if not image.isfinite().all():
        return _out(example, image, "its image has nan or inf")
    if outside_unit(forward_func, image):
        return _out(example, image, "its image leaves [0, 1]")
    try:
        # One at a time: an answer must not depend on the others in a group.
        with torch.no_grad():
            answer = forward_func(image[None].clone())
    except Exception as error:
        stop_unless_its_own(error, f"example {example.position}")
        return _out(example, image, f"the model fails: {reason(error)}")
    if require_scores(answer, 1).dim() != 2:
        raise ValueError("`forward_func` must return one row of class scores per image.")
    if not answer.isfinite().all():
        return _out(example, image, "the model answers nan or inf")
    if scores:
        return _scored(example, image, answer[0])
    prediction = int(answer[0].argmax())
    target = prediction if example.target is None else example.target
    n_classes = answer.shape[1]
    if not 0 <= target < n_classes:
        unfit = f"its class {target} is not one of the model's {n_classes}"
        if n_classes == 1:
            unfit = f"its class is {target}, but the model has one output: give two `class_names`"
        return Screened(example, image, target, prediction, None, unfit)
    if only_correct and n_classes == 1:
        raise ValueError(
            "`only_correct` needs two classes or more, but `forward_func` has one output: give "
            "`ImageClassifier` two `class_names`, so that labels 0 and 1 are targets."
        )
    wrong = only_correct and not is_right(forward_func, answer[0], target)
    missed = "not classified correctly" if wrong else None
    return Screened(example, image, target, prediction, float(answer[0, target]), missed)


def _scored(example: Example, image: Tensor, answer: Tensor) -> Screened:
    """An example of which one score is explained: the only one, or that which is numbered."""
    n = len(answer)
    target = 0 if n == 1 else example.target
    if target is None or not 0 <= target < n:
        said = "has no number" if target is None else f"is {target}"
        unfit = f"the output to explain {said}, and the model has {n}"
        return Screened(example, image, target, None, None, unfit)
    return Screened(example, image, target, None, float(answer[target]), None)


def _out(example: Example, image: Tensor, reason: str) -> Screened:
    return Screened(example, image, example.target, None, None, reason)


def device_of(forward_func: Forward) -> torch.device:
    """Where a module's parameters or buffers are; of a function, where tensors are made."""
    if isinstance(forward_func, nn.Module):
        for tensor in chain(forward_func.parameters(), forward_func.buffers()):
            return tensor.device
    return torch.empty(0).device
