"""Readings of a frame: what the model answers (y), and how much is shown (x)."""

from __future__ import annotations

from typing import Annotated as Shaped

import torch
from torch import Tensor

from captum_ext._tensors import accumulation_dtype
from captum_ext._typing import Rows, Tensors
from captum_ext.curve.frames import Frames
from captum_ext.curve.ranking import Ranking
from captum_ext.score import Score


def probability_and_correctness(
    score: Score, points: Shaped[Tensors, "M ..."], rows: Rows
) -> Shaped[Tensor, "M 2"]:
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


def answers(score: Score, points: Shaped[Tensors, "M ..."], rows: Rows) -> Shaped[Tensor, "M 3"]:
    """The target's probability, 1 where no class has a higher one, and the row's sum: (M, 3)."""
    output = score.outputs(points, rows)
    if output.dim() not in (1, 2):
        raise ValueError(
            "`forward_func` must return probabilities (N, classes) to tell whether it is right, "
            f"but gave shape {tuple(output.shape)}."
        )
    return _answers(score, output, rows)


def _answers(score: Score, output: Shaped[Tensor, "M ..."], rows: Rows) -> Shaped[Tensor, "M 3"]:
    probability = score.select(output, rows)
    wide = output.reshape(len(output), -1).to(probability)
    return torch.stack([probability, (probability >= wide.amax(1)).to(probability), wide.sum(1)], 1)


def correctness(found: Shaped[Tensor, "N frames 3"]) -> Shaped[Tensor, "N frames"]:
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


def fraction(frames: Frames) -> Shaped[Tensor, "N points"]:
    """The share of features that have changed over in each frame, (N, points), from 0 to 1.

    >>> import torch
    >>> from captum_ext.curve import rank
    >>> table = torch.tensor([[0.1, 0.9]])
    >>> fraction(Frames((table * 0,), (table,), rank((table,)), torch.tensor([[0, 1, 2]])))
    tensor([[0.0000, 0.5000, 1.0000]], dtype=torch.float64)
    """
    return share(frames.ranking, frames.counts)


def share(ranking: Ranking, counts: Shaped[Tensor, "N points"]) -> Shaped[Tensor, "N points"]:
    """`fraction` of features that stand in a ranking."""
    return counts.to(accumulation_dtype(counts.device)) / ranking.n_features[:, None]


def element_fraction(frames: Frames) -> Shaped[Tensor, "N points"]:
    """The share of elements (pixels of images) that have changed over, (N, points), 0 to 1.

    Differs from `fraction` where features are groups of unequal size.

    >>> import torch
    >>> from captum_ext.curve import rank
    >>> table, groups = torch.tensor([[0.9, 0.1, 0.1, 0.1]]), torch.tensor([[0, 1, 1, 1]])
    >>> ranking = rank((table,), feature_mask=groups)
    >>> element_fraction(Frames((table * 0,), (table,), ranking, torch.tensor([[0, 1, 2]])))
    tensor([[0.0000, 0.2500, 1.0000]], dtype=torch.float64)
    """
    return element_share(frames.ranking, frames.counts)


def element_share(
    ranking: Ranking, counts: Shaped[Tensor, "N points"]
) -> Shaped[Tensor, "N points"]:
    """`element_fraction` of features that stand in a ranking."""
    places = torch.cat([p.flatten(1) for p in ranking.positions], 1).sort(1).values
    changed = torch.searchsorted(places, counts.contiguous())
    return changed.to(accumulation_dtype(changed.device)) / places.shape[1]
