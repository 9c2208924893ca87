"""Readings of the model: the y of a curve."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_ext._captum import Score
from captum_ext._typing import Tensors


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
    probability = score.select(output, rows)
    best = output.amax(1).to(probability)
    return torch.stack([probability, (probability >= best).to(probability)], 1)
