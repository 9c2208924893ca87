"""`MaskProblem`: the objective of a mask, all examples and all terms in shared model calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Annotated as Shaped

import torch
from torch import Tensor

from captum_ext._tensors import accumulation_dtype, sent
from captum_ext._typing import Masks, PerRow, Rows, Tensors
from captum_ext.mask.grid import Grid
from captum_ext.mask.regularizers import Regularizer
from captum_ext.mask.sample import Noise, Sample, Samples
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

    def start(self, deleted: Shaped[Tensor, "N cells"] | None = None) -> Masks:
        """Masks that keep everything, or all but what is deleted, all masks alike."""
        x = self.inputs[0]
        ones = x.new_ones(x.shape[0], self.n_masks, self.grid.count(self.inputs))
        return ones if deleted is None else ones - deleted.to(x).unsqueeze(1)

    def sample(self, fractions: Sequence[float], *keys: int) -> Sample:
        """What is random in the objective, the same for all examples: ``keys`` alone decide it."""
        return self.samples(fractions)(*keys)

    def samples(self, fractions: Sequence[float]) -> Samples:
        """`sample` for many keys."""
        return Samples(fractions, self.inputs, self.noise, self.jitter, len(self.terms))

    @cached_property
    def _weights(self) -> Tensor:
        """The terms' weights, sent to the device once."""
        device = self.inputs[0].device
        return sent([t.weight for t in self.terms], device, accumulation_dtype(device))

    @cached_property
    def _counts(self) -> tuple[Tensor, list[int]]:
        """How many cells each example has, (N,), and which numbers these are: asked once."""
        counts = self.grid.counts(self.inputs)
        return counts, sorted(set(counts.tolist()))

    def value(self, masks: Masks, rows: Rows, sample: Sample) -> PerRow:
        """The objective of each mask, (M,), without a graph; ``rows`` says whose mask each is.

        Not finite where the model's scores are not.
        """

        def ask(part: slice) -> Tensor:
            of = self._part(part, rows, sample)
            return self._score(of, sample)((masks[of.mask],), of.row)

        scores = torch.cat(self.score.calls(self._n_evaluations(rows, sample), ask))
        with torch.no_grad():
            return self.objective(self._table(scores, sample), self.penalty(masks, rows))

    def scores_and_gradient(
        self, masks: Masks, rows: Rows, sample: Sample
    ) -> tuple[Shaped[Tensor, "terms M fractions"] | None, Masks]:
        """The scores, (terms, M, fractions), and the gradient of their weighted mean.

        The gradient has the masks' shape. Scores are None where only gradients are known. Both
        are not finite where the model's are not.
        """
        gradient = torch.zeros_like(masks)
        weights = self._weights.to(masks) / len(sample.fractions)

        def ask(part: slice) -> Tensor | None:
            of = self._part(part, rows, sample)
            points = (masks[of.mask],)
            value, (rise,) = self._score(of, sample).with_gradient(points, of.row)
            each = torch.cat([weights[t].expand(p.stop - p.start) for t, p in of.terms])
            gradient.index_add_(0, of.mask, each.view(-1, 1, 1) * rise)
            return value

        values = self.score.calls(self._n_evaluations(rows, sample), ask)
        known = [v for v in values if v is not None]
        return (self._table(torch.cat(known), sample) if known else None), gradient

    def penalty(self, masks: Masks, rows: Rows) -> PerRow:
        """The regularizers of each mask, (M,); differentiable."""
        products, (counts, known) = masks.prod(1), self._counts
        total = products.new_zeros(len(products))
        for count in known:
            # Without the cells that an example lacks, which would cost it.
            found = self._penalty(products[:, :count], rows)
            total = found if len(known) == 1 else torch.where(counts[rows] == count, found, total)
        return total

    def _penalty(self, products: Shaped[Tensor, "M cells"], rows: Rows) -> PerRow:
        inputs = tuple(x[rows] for x in self.inputs)
        maps = self.grid.maps(products, inputs)
        total = products.new_zeros(products.shape[0])
        for regularizer in self.regularizers:
            total = total + regularizer(maps, inputs)
        return total if self.scale is None else total * self.scale[rows].to(total)

    def penalty_and_gradient(self, masks: Masks, rows: Rows) -> tuple[PerRow, Masks]:
        """The regularizers of each mask, (M,), and their gradient, in the masks' shape."""
        with torch.enable_grad():
            leaf = masks.detach().clone().requires_grad_()
            total = self.penalty(leaf, rows)
            if not total.requires_grad:
                return total, torch.zeros_like(masks)
            (gradient,) = torch.autograd.grad(total.sum(), leaf)
        return total.detach(), gradient

    def objective(self, scores: Shaped[Tensor, "terms M fractions"], penalty: PerRow) -> PerRow:
        """The objective, (M,), from the scores and the penalty."""
        weights = self._weights.to(scores)
        return (weights.view(-1, 1) * scores.mean(2)).sum(0) + penalty.to(scores)

    def enlarged(self, masks: Masks, rows: Rows, chosen: Sequence[int]) -> Shaped[Tensors, "M ..."]:
        """The product of the chosen masks, each enlarged before, one per input tensor."""
        inputs, grid = tuple(x[:1] for x in self.inputs), self.grid.of(rows)
        # Enlarged before they are multiplied: a product of bilinear maps is not the bilinear map of
        # the product, and the model would see another mask than the one that is returned.
        factors = [grid.enlarge(masks[:, i], inputs) for i in chosen]
        return tuple(prod(maps) for maps in zip(*factors, strict=True))

    def _n_evaluations(self, rows: Tensor, sample: Sample) -> int:
        return len(self.terms) * len(rows) * len(sample.fractions)

    def _part(self, part: slice, rows: Tensor, sample: Sample) -> _Part:
        """Some of all evaluations, which are numbered term by term, mask by mask."""
        n_fractions, per_term = len(sample.fractions), len(rows) * len(sample.fractions)
        numbers = torch.arange(part.start, part.stop, device=rows.device)
        mask = numbers // n_fractions % len(rows)
        terms = []
        for term in range(part.start // per_term, -(-part.stop // per_term)):
            first, last = max(term * per_term, part.start), min((term + 1) * per_term, part.stop)
            terms.append((term, slice(first - part.start, last - part.start)))
        return _Part(mask, rows[mask], numbers % n_fractions, terms)

    def _table(self, scores: Tensor, sample: Sample) -> Tensor:
        return scores.view(len(self.terms), -1, len(sample.fractions))

    def _score(self, part: _Part, sample: Sample) -> Score:
        # Unchecked: a descent asks whether all is finite when it asks the device anyway.
        return self.score.unchecked().through(lambda masks: self._blends(masks, part, sample))

    def _blends(self, masks: Tensor, part: _Part, sample: Sample) -> Tensors:
        """What the model sees of one call's evaluations."""
        blends = [self._blends_of(masks, part, term, of, sample) for term, of in part.terms]
        return tuple(torch.cat(tensors) for tensors in zip(*blends, strict=True))

    def _blends_of(
        self, masks: Masks, part: _Part, number: int, of: slice, sample: Sample
    ) -> Tensors:
        term, row, fraction = self.terms[number], part.row[of], part.fraction[of]
        enlarged = self.enlarged(masks[of], row, term.masks)
        blends = []
        for k, (x, reference, mask) in enumerate(
            zip(self.inputs, self.references, enlarged, strict=True)
        ):
            share = sample.fractions[fraction].to(mask).view(-1, *[1] * (mask.dim() - 1))
            blend = term.blend(x[row], reference[row], share * mask)
            blends.append(sample.disturb(blend, x[row], k, number, fraction))
        return tuple(blends)


@dataclass(frozen=True)
class _Part:
    """The evaluations of one model call: which mask, example and fraction each one is.

    And whose slice is which term's: known on the host, so that no device is asked.
    """

    mask: PerRow
    row: Rows
    fraction: PerRow
    terms: list[tuple[int, slice]]
