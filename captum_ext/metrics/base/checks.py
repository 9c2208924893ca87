"""What metrics are given, checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from captum_ext._typing import Inputs, Tensors


def require_probabilities(answers: Tensor) -> None:
    """Refuses a model whose answers leave [0, 1]; nan and inf are an example's own matter."""
    outside = answers.isfinite() & ((answers < -1e-4) | (answers > 1 + 1e-4))
    if outside.any():
        raise ValueError(
            "`forward_func` must return probabilities in [0, 1], but gave "
            f"{float(answers[outside][0]):.4g}: turn logits into probabilities, for images with "
            "`captum_ext.ImageClassifier`, by a softmax or sigmoid; for scores of another "
            'kind, as of a regression, give `Insertion` and `Deletion` reading="score".'
        )


def require_real(maps: Iterable[Any]) -> None:
    """Refuses maps of complex numbers, whose real parts alone would be ranked, and sparse ones.

    >>> require_real([torch.ones(1) * 1j])
    Traceback (most recent call last):
    ...
    TypeError: `attributions` are dense tensors of real numbers, but got torch.complex64.
    """
    for one in maps:
        if isinstance(one, Tensor) and (one.is_complex() or one.layout is not torch.strided):
            what = one.dtype if one.is_complex() else f"{one.layout}: use `.to_dense()`"
            raise TypeError(f"`attributions` are dense tensors of real numbers, but got {what}.")


def format_attributions(
    attributions: Inputs, inputs: Tensors, full: bool
) -> tuple[Tensors, Tensor]:
    """Attributions on the inputs' device, and which examples' are finite, (N,).

    One channel is enough for images, unless ``full``.
    """
    given = attributions if isinstance(attributions, tuple) else (attributions,)
    require_real(given)
    shapes = [tuple(a.shape) if isinstance(a, Tensor) else type(a).__name__ for a in given]
    wanted = [tuple(x.shape) for x in inputs]
    one_channel = [(x[0], 1, *x[2:]) if len(x) >= 4 else x for x in wanted]
    if len(given) != len(inputs) or any(
        shape not in choices for shape, *choices in zip(shapes, wanted, one_channel, strict=True)
    ):
        raise ValueError(
            f"`attributions` must have the inputs' shape {_list(wanted)}, or one channel where "
            f"inputs are images, but got {_list(shapes)}."
        )
    maps = tuple(a.detach().to(x.device) for a, x in zip(given, inputs, strict=True))
    finite = torch.stack([torch.isfinite(m).flatten(1).all(1) for m in maps]).all(0)
    if full:
        # A group's mean is over the inputs' elements.
        maps = tuple(m.expand_as(x) for m, x in zip(maps, inputs, strict=True))
    return maps, finite


def _list(shapes: list[Any]) -> str:
    return ", ".join(str(shape) for shape in shapes)
