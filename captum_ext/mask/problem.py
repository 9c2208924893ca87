"""`MaskProblem`: the objective of a mask, all examples and all terms in shared model calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from captum_ext._typing import Tensors
from captum_ext.mask.grid import Grid
from captum_ext.mask.regularizers import Regularizer
from captum_ext.mask.sample import Noise, Sample
from captum_ext.mask.terms import Term
from captum_ext.score import Score

__all__ = ["MaskProblem"]


@dataclass(frozen=True)
class MaskProblem:
    """Minimize over masks: weighted scores of blends, plus regularizers.

    The objective of an example is ``sum_t weight_t * mean_s f(blend_t(s * M)) + sum_r r(M)``, s
    running over the fractions of the sample. Masks have shape (N, masks, cells), in [0, 1].

    Args:
        score: the model bound to its target.
        inputs: the examples, (N, ...), in the type the arithmetic is done in.
        references: what deleted features become, in the inputs' shape.
        grid: how cells lie over the inputs.
        terms: what the model says; each names the masks that it multiplies.
        regularizers: penalties of the product of all masks, at the grid's own resolution.
        noise: added to what the model sees.
        jitter: pixels, exclusive, by which images are shifted at random.
        scale: factor of the regularizers of each example, (N,); None is 1.

    >>> from captum_ext import Score
    >>> from captum_ext.mask import L1, DeletionTerm, MaskGrid
    >>> image = torch.ones(1, 1, 2, 2)
    >>> score = Score(lambda x: x.flatten(1).mean(1), (image,))
    >>> terms, black = (DeletionTerm(),), (torch.zeros_like(image),)
    >>> problem = MaskProblem(score, (image,), black, MaskGrid(2), terms, (L1(),))
    >>> half = problem.start() / 2
    >>> problem.value(half, torch.tensor([0]), problem.sample([1.0]))  # 0.5 kept + 0.5 deleted
    tensor([1.], dtype=torch.float64)
    """

    score: Score
    inputs: Tensors
    references: Tensors
    grid: Grid
    terms: tuple[Term, ...]
    regularizers: tuple[Regularizer, ...] = ()
    noise: Noise = field(default_factory=Noise)
    jitter: int = 0
    scale: Tensor | None = None

    @property
    def n_masks(self) -> int:
        """How many masks each example has."""
        return 1 + max(max(term.masks) for term in self.terms)

    def start(self) -> Tensor:
        """Masks that keep everything, (N, masks, cells)."""
        x = self.inputs[0]
        return x.new_ones(x.shape[0], self.n_masks, self.grid.count(self.inputs))

    def sample(self, fractions: Sequence[float], *keys: int) -> Sample:
        """What is random in the objective, the same for all examples: ``keys`` alone decide it."""
        return Sample.draw(fractions, self.inputs, self.noise, self.jitter, len(self.terms), keys)

    def value(self, masks: Tensor, rows: Tensor, sample: Sample) -> Tensor:
        """The objective of each mask, (M,), without a graph; ``rows`` says whose mask each is."""
        values = []
        for part in self._parts(rows, sample):
            points = masks[part.mask]
            values.append(self._score(part, sample)((points,), part.row))
        with torch.no_grad():
            return self.objective(self._table(values, sample), self.penalty(masks, rows))

    def scores_and_gradient(
        self, masks: Tensor, rows: Tensor, sample: Sample
    ) -> tuple[Tensor | None, Tensor]:
        """The scores, (terms, M, fractions), and the gradient of their weighted mean.

        The gradient has the masks' shape. Scores are None where only gradients are known.
        """
        values: list[Tensor] = []
        gradient = torch.zeros_like(masks)
        weights = masks.new_tensor([t.weight for t in self.terms]) / len(sample.fractions)
        for part in self._parts(rows, sample):
            points = masks[part.mask]
            value, (rise,) = self._score(part, sample).with_gradient((points,), part.row)
            values += [] if value is None else [value]
            gradient.index_add_(0, part.mask, weights[part.term].view(-1, 1, 1) * rise)
        return (self._table(values, sample) if values else None), gradient

    def penalty(self, masks: Tensor, rows: Tensor) -> Tensor:
        """The regularizers of each mask, (M,); differentiable."""
        products, counts = masks.prod(1), self.grid.counts(self.inputs)[rows]
        # Examples with the same number of cells together, so that none pays for cells it lacks.
        alike = [(counts == count).nonzero().flatten() for count in torch.unique(counts)]
        totals = [self._penalty(products[a, : int(counts[a[0]])], rows[a]) for a in alike]
        return torch.cat(totals)[torch.cat(alike).argsort()]

    def _penalty(self, products: Tensor, rows: Tensor) -> Tensor:
        inputs = tuple(x[rows] for x in self.inputs)
        maps = self.grid.maps(products, inputs)
        total = products.new_zeros(products.shape[0])
        for regularizer in self.regularizers:
            total = total + regularizer(maps, inputs)
        return total if self.scale is None else total * self.scale[rows].to(total)

    def penalty_and_gradient(self, masks: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The regularizers of each mask, (M,), and their gradient, in the masks' shape."""
        with torch.enable_grad():
            leaf = masks.detach().clone().requires_grad_()
            total = self.penalty(leaf, rows)
            if not total.requires_grad:
                return total, torch.zeros_like(masks)
            (gradient,) = torch.autograd.grad(total.sum(), leaf)
        return total.detach(), gradient

    def objective(self, scores: Tensor, penalty: Tensor) -> Tensor:
        """The objective, (M,), from the scores and the penalty."""
        weights = scores.new_tensor([t.weight for t in self.terms])
        return (weights.view(-1, 1) * scores.mean(2)).sum(0) + penalty.to(scores)

    def enlarged(self, masks: Tensor, rows: Tensor, chosen: Sequence[int]) -> Tensors:
        """The product of the chosen masks, each enlarged before, one per input tensor."""
        inputs, grid = tuple(x[:1] for x in self.inputs), self.grid.of(rows)
        factors = [grid.enlarge(masks[:, i], inputs) for i in chosen]
        return tuple(prod(maps) for maps in zip(*factors, strict=True))

    def _parts(self, rows: Tensor, sample: Sample) -> list[_Part]:
        """All evaluations: term by term, mask by mask, fraction by fraction; a call's at a time."""
        n_fractions = len(sample.fractions)
        numbers = torch.arange(len(self.terms) * len(rows) * n_fractions, device=rows.device)
        return [
            _Part(n // (len(rows) * n_fractions), mask, rows[mask], n % n_fractions)
            for n in torch.split(numbers, self.score.chunk)
            for mask in [n // n_fractions % len(rows)]
        ]

    def _table(self, scores: list[Tensor], sample: Sample) -> Tensor:
        return torch.cat(scores).view(len(self.terms), -1, len(sample.fractions))

    def _score(self, part: _Part, sample: Sample) -> Score:
        return self.score.through(lambda masks: self._blends(masks, part, sample))

    def _blends(self, masks: Tensor, part: _Part, sample: Sample) -> Tensors:
        """What the model sees of one call's evaluations."""
        blends = []
        for number, term in enumerate(self.terms):
            of_term = part.term == number
            if of_term.any():
                chosen = part.of(of_term)
                blends.append(self._blends_of(term, masks[of_term], chosen, sample))
        return tuple(torch.cat(tensors) for tensors in zip(*blends, strict=True))

    def _blends_of(self, term: Term, masks: Tensor, part: _Part, sample: Sample) -> Tensors:
        enlarged = self.enlarged(masks, part.row, term.masks)
        blends = []
        for number, (x, reference, mask) in enumerate(
            zip(self.inputs, self.references, enlarged, strict=True)
        ):
            fraction = sample.fractions[part.fraction].to(mask).view(-1, *[1] * (mask.dim() - 1))
            blend = term.blend(x[part.row], reference[part.row], fraction * mask)
            blends.append(sample.disturb(blend, x[part.row], number, part.term, part.fraction))
        return tuple(blends)


@dataclass(frozen=True)
class _Part:
    """The evaluations of one model call: which term, mask, example and fraction each one is."""

    term: Tensor
    mask: Tensor
    row: Tensor
    fraction: Tensor

    def of(self, chosen: Tensor) -> _Part:
        return _Part(*(t[chosen] for t in (self.term, self.mask, self.row, self.fraction)))
