"""`SensitivityN`: whether the credit of removed features is the fall of the model's answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import Unpack

from captum_ext._numbers import rising, whole
from captum_ext._random import stream
from captum_ext._tensors import accumulation_dtype, format_inputs
from captum_ext._torchmetrics import MetricOptions
from captum_ext._typing import FeatureMask, Forward, Inputs, Target, Tensors
from captum_ext.classifier import require_unit_images
from captum_ext.curve import Ranking, rank
from captum_ext.curve.bases import BaseLike, Shown, as_base
from captum_ext.curve.frames import read
from captum_ext.metrics.base.borrowed import BorrowsModel
from captum_ext.metrics.base.checks import format_attributions
from captum_ext.metrics.base.example import Reason, coded
from captum_ext.metrics.base.means import TableMetric
from captum_ext.score import Score

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8)
# Of the largest sum or answer: what differs by less is rounding, which correlates with anything.
_ROUNDING = 2.0**-20


class NoCorrelation(Reason):
    """Why an example has no correlation."""

    NOT_FINITE_ATTRIBUTION = "attributions not finite"
    NOT_FINITE_ANSWER = "model's answer not finite"
    SAME_CREDIT = "all subsets hold the same credit"
    SAME_ANSWER = "answer is the same without any subset"


class _Settings(TypedDict, total=False):
    """The settings of `SensitivityN` by their names."""

    shares: Sequence[float]
    n_subsets: int
    base: BaseLike
    seed: int
    internal_batch_size: int | None


class SensitivityN(BorrowsModel, TableMetric):
    """Correlation of removed features' credit with the fall of the answer, over random subsets.

    Ancona, Ceolini, Oeztireli and Gross (ICLR 2018, arXiv:1711.06104): a method is
    sensitive-n where ``sum of R_i over S = f(x) - f(x without S)`` for every set S of n features.
    No method is for all n unless the model is linear; completeness is the case of all features.
    So the Pearson correlation of both sides is read over random subsets, for sizes from few
    features to most of them: 1 is best, 0 is chance.

    Args:
        forward_func: from inputs to answers of any kind; for a classifier the paper reads the
            score before the softmax.
        shares: the sizes, as shares of the features, between 0 and 1, rising. A number per share,
            named by it.
        n_subsets: subsets of each size, the same for every example; the paper's 100.
        base: what stands in the place of removed features, as of `Insertion`; 0 as in the paper.
        seed: of the subsets.
        internal_batch_size: frames per model call; None is a choice that bounds memory.
        kwargs: of `torchmetrics.Metric`.

    >>> weights = torch.tensor([[1.0], [-2.0], [3.0], [0.5]])
    >>> metric = SensitivityN(lambda x: x @ weights, shares=[0.25, 0.5], n_subsets=20)
    >>> x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    >>> metric.update(x, x * weights.T, target=0)  # of a linear model all correlations are 1
    >>> {share: round(float(value), 4) for share, value in metric.compute().items()}
    {'0.25': 1.0, '0.5': 1.0}
    """

    REASONS = NoCorrelation
    averages_rows = True
    higher_is_better = True

    def __init__(
        self,
        forward_func: Forward,
        shares: Sequence[float] = SHARES,
        n_subsets: int = 100,
        base: BaseLike = 0.0,
        seed: int = 0,
        internal_batch_size: int | None = None,
        **kwargs: Unpack[MetricOptions],
    ) -> None:
        whole_credit = ": all features are `return_convergence_delta` of a method."
        shares = rising("shares", shares, 0, 1, whole_credit)
        if whole("n_subsets", n_subsets) < 3:
            raise ValueError(
                f"`n_subsets` is over how many subsets a correlation is taken, at least 3, but "
                f"got {n_subsets}."
            )
        super().__init__(len(shares), **kwargs)
        self.shares, self.n_subsets, self.seed = shares, n_subsets, seed
        self._base, self._chunk = as_base(base), internal_batch_size
        self.bind(forward_func)
        self._add_list("correlations", len(self.shares))

    def update(
        self,
        inputs: Inputs,
        attributions: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: FeatureMask = None,
    ) -> None:
        """Adds examples: a forward pass for each share and subset.

        Args:
            inputs: (N, ...), or a tuple of tensors.
            attributions: of the inputs' shape: the *sum* over a pixel's channels counts, with
                its sign.
            target: of the output, in any of Captum's forms.
            additional_forward_args: further arguments of the model.
            feature_mask: numbers of features that are removed as one, whose elements each hold
                the credit of the whole.

        Raises:
            ValueError: if shapes don't fit.
            AssertionError: if the target doesn't fit the model's output, as in Captum.
        """
        tensors = format_inputs(inputs, needs_gradient=False)
        require_unit_images(self.forward_func, tensors)
        score = Score(
            self.forward_func, tensors, target, additional_forward_args,
            chunk=self._chunk, keep_undefined=True,
        )  # fmt: skip
        with score.borrowed():
            grouped = feature_mask is not None
            maps, finite = format_attributions(attributions, tensors, full=True)
            sums, answers = self._both_sides(score, tensors, maps, feature_mask, grouped)
        found, codes = _correlation(sums, answers)
        codes = codes.masked_fill(~finite[:, None], NoCorrelation.NOT_FINITE_ATTRIBUTION)
        self._append(correlations=found.masked_fill(codes != 0, torch.nan), codes=codes)

    def _both_sides(
        self, score: Score, inputs: Tensors, maps: Tensors, mask: FeatureMask, grouped: bool
    ) -> tuple[Tensor, Tensor]:
        """Credit removed, and the answer without it: (n_subsets, N, shares) each."""
        sums, answers = [], []
        draw = stream(self.seed, 0)
        for _ in range(self.n_subsets):
            # Of equal scores the order is a permutation of the features by the seed.
            seed = int(torch.randint(2**62, (1,), generator=draw))
            subset = rank(tuple(torch.zeros_like(m) for m in maps), mask, seed=seed)
            total = subset.n_features[:, None]
            shares = torch.tensor(self.shares, device=total.device)
            removed = torch.minimum((shares * total).round().long().clamp(min=1), total - 1)
            shown = total - removed
            order = subset.reversed()
            frames = Shown(self._base.frames(inputs, order, shown), inputs, shown)
            answers += read(frames, [score], score.chunk)
            sums.append(_first(_credit(subset, maps, grouped), removed))
        return torch.stack(sums), torch.stack(answers)

    def _tables(self) -> dict[str, Tensor]:
        # A state of one column comes without it.
        table = self._rows("correlations").reshape(-1, len(self.shares))
        return {f"{share:g}": table[:, k] for k, share in enumerate(self.shares)}

    @property
    def protocol(self) -> dict[str, Any]:
        """Everything that decides the numbers."""
        return {
            **super().protocol,
            "shares": [*self.shares],
            "n_subsets": self.n_subsets,
            "base": repr(self._base),
            "seed": self.seed,
        }


def _credit(order: Ranking, maps: Tensors, grouped: bool) -> Tensor:
    """The credit of each feature in order of its place, (N, features)."""
    n_features = int(order.n_features.max())
    wide = accumulation_dtype(maps[0].device)
    total = torch.zeros(len(maps[0]), n_features, dtype=wide, device=maps[0].device)
    size = torch.zeros_like(total)
    for credit, places in zip(maps, order.positions, strict=True):
        where = places.expand_as(credit).flatten(1)
        total.scatter_add_(1, where, credit.to(wide).flatten(1))
        size.scatter_add_(1, where, torch.ones_like(credit, dtype=wide).flatten(1))
    return total / size.clamp(min=1) if grouped else total


def _first(credit: Tensor, counts: Tensor) -> Tensor:
    """The credit of the first ``counts`` features, (N, shares); 0 of none, as of a lone one."""
    return functional.pad(credit.cumsum(1), (1, 0)).gather(1, counts.expand(len(credit), -1))


def _correlation(sums: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Pearson's, of credit and fall, over the first axis; and why there is none (0: there is).

    The fall is a constant less the answer, so that the answer to the whole is not asked.
    """
    sums = sums.to(answers)
    a, b = sums - sums.mean(0), answers.mean(0) - answers
    a_size, b_size = a.square().sum(0).sqrt(), b.square().sum(0).sqrt()
    rounding = _ROUNDING * len(sums) ** 0.5
    codes = coded(
        (b_size <= rounding * answers.abs().amax(0), NoCorrelation.SAME_ANSWER),
        (a_size <= rounding * sums.abs().amax(0), NoCorrelation.SAME_CREDIT),
        (~answers.isfinite().all(0), NoCorrelation.NOT_FINITE_ANSWER),
    )
    return (a * b).sum(0) / (a_size * b_size), codes


def sensitivity_n(
    forward_func: Forward,
    inputs: Inputs,
    attributions: Inputs,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: FeatureMask = None,
    **settings: Unpack[_Settings],
) -> dict[str, Tensor]:
    """`SensitivityN` of each example, by share (N,); arguments as of its ``update``.

    >>> x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    >>> sensitivity_n(lambda x: x, x, x, target=3, shares=[0.5], n_subsets=20)["0.5"] > 0
    tensor([True])
    """
    metric = SensitivityN(forward_func, sync_on_compute=False, **settings)
    metric.update(inputs, attributions, target, additional_forward_args, feature_mask)
    return metric._tables()
