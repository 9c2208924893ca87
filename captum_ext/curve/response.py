"""Readings of the model: the y of a curve."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_ext._typing import Tensors
from captum_ext.score import Score


def probability_and_correctness(score: Score, points: Tensors, rows: Tensor) -> Tensor:
    """The target's probability, and 1 where no class has a higher one, else 0: (M, 2).

    Raises:
        ValueError: if the model gives no row of at least two classes.

    >>> score = Score(lambda x: x, (torch.tensor([[0.7, 0.3]]),), target=1)
    >>> points = (torch.tensor([[0.9, 0.1], [0.2, 0.8]]),)
    >>> probability_and_correctness(score, points, torch.tensor([0, 0]))
    tensor([[0.1000, 0.0000],
            [0.8000, 1.0000]], dtype=torch.float64)
    """
    output = score.outputs(points, rows)
    if output.dim() != 2 or output.shape[1] < 2:
        raise ValueError(
            "`forward_func` must return probabilities (N, classes) of at least 2 classes to tell "
            f"whether it is right, but gave shape {tuple(output.shape)}."
        )
    return _answers(score, output, rows)[:, :2]


def answers(score: Score, points: Tensors, rows: Tensor) -> Tensor:
    """The target's probability, 1 where no class has a higher one, and the row's sum: (M, 3)."""
    output = score.outputs(points, rows)
    if output.dim() not in (1, 2):
        raise ValueError(
            "`forward_func` must return probabilities (N, classes) to tell whether it is right, "
            f"but gave shape {tuple(output.shape)}."
        )
    return _answers(score, output, rows)


def _answers(score: Score, output: Tensor, rows: Tensor) -> Tensor:
    probability = score.select(output, rows)
    wide = output.reshape(len(output), -1).to(probability)
    return torch.stack([probability, (probability >= wide.amax(1)).to(probability), wide.sum(1)], 1)


def correctness(found: Tensor) -> Tensor:
    """1 where `answers` of an example's frames, (N, frames, 3), are right, else 0: (N, frames).

    Where the classes exclude one another, as all rows sum to 1: where none has a higher
    probability than the target. Else, as under a sigmoid: where the target's is at least .5.

    >>> correctness(torch.tensor([[[0.3, 1.0, 1.0]], [[0.3, 1.0, 0.5]], [[0.6, 0.0, 1.5]]]))
    tensor([[1.],
            [0.],
            [1.]])
    """
    probability, top, total = found.unbind(-1)
    # All frames decide: a single row of sigmoids may sum to 1 by chance.
    exclusive = ((total - 1).abs() <= 1e-2).all(1, keepdim=True)
    return torch.where(exclusive, top, (probability >= 0.5).to(top))
