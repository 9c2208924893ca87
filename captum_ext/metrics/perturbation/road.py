"""`ROAD`: the model's answer where ranked pixels are removed and filled in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from typing_extensions import Unpack

from captum_ext._numbers import rising
from captum_ext._tensors import format_inputs
from captum_ext._torchmetrics import MetricOptions
from captum_ext._typing import FeatureMask, Forward, Inputs, Target
from captum_ext.classifier import require_unit_images
from captum_ext.curve import Curve, NoisyLinear, rank
from captum_ext.curve.bases import BaseLike, Shown, as_base
from captum_ext.curve.frames import read
from captum_ext.curve.ranking import REDUCTIONS
from captum_ext.curve.response import answers, correctness
from captum_ext.metrics.base.checks import format_attributions, require_probabilities
from captum_ext.metrics.base.curve_metric import CurveMetric
from captum_ext.metrics.base.example import Reason, coded
from captum_ext.score import Score

ORDERS, READINGS = ("morf", "lerf"), ("accuracy", "probability")
PERCENTAGES = (10, 20, 30, 40, 50, 60, 70, 80, 90)


class NoAnswer(Reason):
    """Why an example is in none of the shares."""

    NOT_FINITE_ATTRIBUTION = "attributions not finite"
    NOT_FINITE_ANSWER = "model's answer not finite"


class _Settings(TypedDict, total=False):
    """The settings of `ROAD` by their names."""

    order: str
    reading: str
    percentages: Sequence[float]
    reduction: str
    seed: int
    base: BaseLike | None
    internal_batch_size: int | None


class ROAD(CurveMetric):
    """Remove and debias: the accuracy left where ranked pixels are removed, over percentages.

    Rong et al. (ICML 2022). Removed pixels are filled in by `captum_ext.curve.NoisyLinear`, so
    that the shape of what was removed tells the model less. The value is the mean over the
    percentages, of an example's answers being right (1 or 0) or of its target's probability.

    Args:
        forward_func: from images in [0, 1] to probabilities, as `captum_ext.ImageClassifier`.
        order: "morf" removes the best ranked pixels first (lower is better), "lerf" the worst
            (higher is better).
        reading: "accuracy", the paper's, or "probability", which needs fewer images.
        percentages: of pixels removed, between 0 and 100, rising.
        reduction: how channels become one rank: "sum" or "abs_sum".
        seed: of the order among equals and of the noise.
        base: instead of the paper's imputation, as of `Insertion`.
        internal_batch_size: frames per model call; None is a choice that bounds memory.
        kwargs: of `torchmetrics.Metric`.

    >>> model = lambda x: torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1)
    >>> metric = ROAD(model, percentages=[50])
    >>> metric.update(torch.full((1, 3, 4, 4), 0.9), torch.rand(1, 3, 4, 4), target=0)
    >>> metric.compute()
    tensor(1., dtype=torch.float64)
    """

    REASONS = NoAnswer
    averages_rows = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    y: list[Tensor]

    def __init__(
        self,
        forward_func: Forward,
        order: str = "morf",
        reading: str = "accuracy",
        percentages: Sequence[float] = PERCENTAGES,
        reduction: str = "sum",
        seed: int = 0,
        base: BaseLike | None = None,
        internal_batch_size: int | None = None,
        **kwargs: Unpack[MetricOptions],
    ) -> None:
        for name, given, known in (
            ("order", order, ORDERS),
            ("reading", reading, READINGS),
            ("reduction", reduction, [*REDUCTIONS]),
        ):
            if given not in known:
                raise ValueError(f"`{name}` is one of {[*known]}, but got {given!r}.")
        percentages = rising("percentages", percentages, 0, 100)
        super().__init__(forward_func, **kwargs)
        self.order, self.reading, self.percentages = order, reading, percentages
        self._reduction, self._seed, self._chunk = reduction, seed, internal_batch_size
        self._base = as_base(NoisyLinear(seed=seed) if base is None else base)
        self._add_list("y", len(self.percentages))

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """Whether larger values are better: with "lerf", where the best ranked pixels stay."""
        return self.order == "lerf"

    def update(
        self,
        inputs: Inputs,
        attributions: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: FeatureMask = None,
    ) -> None:
        """Adds images: a forward pass and a linear system for each percentage.

        Args:
            inputs: images (N, C, height, width) in [0, 1].
            attributions: larger where the evidence is stronger, of the images' shape or with
                one channel.
            target: the class that counts as right, in any of Captum's forms.
            additional_forward_args: further arguments of the model.
            feature_mask: numbers of superpixels that are removed as one, of one channel.

        Raises:
            ValueError: if shapes don't fit, or the model gives no probabilities.
            AssertionError: if the target doesn't fit the model's output, as in Captum.
        """
        model, images = self.forward_func, format_inputs(inputs, needs_gradient=False)
        require_unit_images(model, images)
        extra = additional_forward_args
        score = Score(model, images, target, extra, chunk=self._chunk, keep_undefined=True)
        with score.borrowed():
            maps, finite = format_attributions(attributions, images, feature_mask is not None)
            ranking = rank(maps, feature_mask, self._reduction, self._seed)
            total = ranking.n_features[:, None]
            shares = torch.tensor(self.percentages, device=total.device) / 100
            shown = total - (shares * total).round().long()
            order = ranking if self.order == "lerf" else ranking.reversed()
            frames = Shown(self._base.frames(images, order, shown), images, shown)
            (found,) = read(frames, [lambda x, rows: answers(score, x, rows)], score.chunk)
        require_probabilities(found[..., 0])
        codes = coded(
            (~found[..., 0].isfinite().all(1), NoAnswer.NOT_FINITE_ANSWER),
            (~finite, NoAnswer.NOT_FINITE_ATTRIBUTION),
        )
        y = correctness(found) if self.reading == "accuracy" else found[..., 0]
        self._append(y=y.masked_fill((codes != 0)[:, None], torch.nan), codes=codes)

    def _answers(self) -> Tensor:
        # A state of one column comes without it.
        return self._rows("y").reshape(-1, len(self.percentages))

    def _curves(self) -> Curve:
        y = self._answers()
        return Curve((torch.tensor(self.percentages) / 100).to(y).expand_as(y), y)

    def _row_values(self) -> Tensor:
        return self._answers().mean(1)

    @property
    def axes_labels(self) -> tuple[str, str]:
        """What x and y of the curve are."""
        return "share of pixels removed", self.reading

    @property
    def protocol(self) -> dict[str, Any]:
        """Everything that decides the number."""
        return {
            **super().protocol,
            "order": self.order,
            "reading": self.reading,
            "percentages": [*self.percentages],
            "reduction": self._reduction,
            "base": repr(self._base),
            "ties": f"shuffled with seed {self._seed}",
        }


def road(
    forward_func: Forward,
    inputs: Inputs,
    attributions: Inputs,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: FeatureMask = None,
    **settings: Unpack[_Settings],
) -> Tensor:
    """`ROAD` of each example, (N,); arguments as of its ``update``, settings as of `ROAD`.

    >>> model = lambda x: torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1)
    >>> images = torch.full((1, 3, 4, 4), 0.9)
    >>> road(model, images, images, 0, order="lerf", percentages=[50])
    tensor([1.], dtype=torch.float64)
    """
    metric = ROAD(forward_func, sync_on_compute=False, **settings)
    metric.update(inputs, attributions, target, additional_forward_args, feature_mask)
    return metric._values()
