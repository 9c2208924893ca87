"""`Insertion` and `Deletion`: the model's answer while ranked features come or go."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import Self, Unpack

from captum_ext._text import number_of
from captum_ext._torchmetrics import MetricOptions
from captum_ext._typing import Baselines, FeatureMask, Forward, Inputs, Target
from captum_ext.curve import Curve, GaussianBlur
from captum_ext.curve.bases import BaseLike
from captum_ext.metrics.base.curve_metric import CurveMetric
from captum_ext.metrics.perturbation.mean_color import NormalizedZero
from captum_ext.metrics.perturbation.perturb import (
    NoCurve,
    Perturbation,
    Reference,
    Settings,
    describe,
    perturb,
)
from captum_ext.registry import PRESETS

__all__ = ["Deletion", "Insertion"]

# Arguments of the constructors; their names stand in the registry.
IGOS = MappingProxyType({"n_steps": 50, "reference": GaussianBlur(51, 50.0)})
RISE_INSERTION = MappingProxyType({"n_steps": 224, "reference": GaussianBlur(11, 5.0)})
RISE_DELETION = MappingProxyType({"n_steps": 224, "reference": NormalizedZero()})
IDGI = MappingProxyType({"n_steps": 20, "reference": 0.0, "reduction": "abs_sum"})


class _Changes(Settings, MetricOptions, total=False):
    """What the constructors of `Insertion` and `Deletion` take beside the model."""


class _PerturbationMetric(CurveMetric):
    """What `Insertion` and `Deletion` share: all but the direction."""

    REASONS = NoCurve
    averages_rows = True
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]]
    inserts: ClassVar[bool]
    x: list[Tensor]
    y: list[Tensor]
    n_baselines: Tensor
    n_feature_masks: Tensor

    def __init__(
        self,
        forward_func: Forward,
        n_steps: int = 20,
        relative: bool = False,
        reduction: str = "sum",
        reference: Reference | NormalizedZero = 0.0,
        seed: int = 0,
        internal_batch_size: int | None = None,
        unit: str = "features",
        base: BaseLike | None = None,
        reading: str = "probability",
        **kwargs: Unpack[MetricOptions],
    ) -> None:
        if isinstance(reference, NormalizedZero):
            reference = reference.of(forward_func)
        how = Perturbation(
            self.inserts,
            n_steps,
            relative,
            reduction,
            reference,
            seed,
            internal_batch_size,
            unit,
            base,
            reading,
        )
        super().__init__(forward_func, **kwargs)
        self._how = how
        self._add_list("x", n_steps + 1)
        self._add_list("y", n_steps + 1)
        self.add_state("n_baselines", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("n_feature_masks", torch.tensor(0), dist_reduce_fx="sum")

    @classmethod
    def from_preset(cls, forward_func: Forward, preset: str, **changes: Unpack[_Changes]) -> Self:
        """The metric as a paper ran it.

        Args:
            forward_func: as in the constructor.
            preset: a key of ``PRESETS``.
            changes: arguments of the constructor that take precedence.

        >>> Insertion.from_preset(lambda x: x, "idgi").protocol["reduction"]
        'abs_sum'
        """
        if preset not in cls.PRESETS:
            raise ValueError(f"`preset` is one of {[*cls.PRESETS]}, but got {preset!r}.")
        known = dict(cls.PRESETS[preset])
        if "base" in changes:
            known.pop("reference")
        return cls(forward_func, **{**known, **changes})

    def update(
        self,
        inputs: Inputs,
        attributions: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: FeatureMask = None,
    ) -> None:
        """Adds examples: costs ``n_steps + 1`` forward passes for each, fewer with few features.

        Args:
            inputs: what was explained, (N, ...), or a tuple.
            attributions: larger where the evidence is stronger, of the inputs' shape; a map of
                one channel serves images.
            baselines: the reference of these examples as in Captum, instead of ``reference``.
            target: the class whose probability counts, in any of Captum's forms.
            additional_forward_args: further arguments of the model.
            feature_mask: numbers of feature groups (superpixels, tokens, ...), of a shape that
                broadcasts to the inputs; groups then change over as one, ranked by the mean.

        Raises:
            ValueError, TypeError: if shapes don't fit, or the model gives no probability.
            AssertionError: if the target doesn't fit the model's output, as in Captum.
        """
        data = (inputs, attributions, baselines, target, additional_forward_args, feature_mask)
        curve, codes = perturb(self._how, self.forward_func, *data)
        self._append(x=curve.x, y=curve.y, codes=codes)
        self.n_baselines += 0 if baselines is None else len(codes)
        self.n_feature_masks += 0 if feature_mask is None else len(codes)

    @property
    def how(self) -> Perturbation:
        """The settings of the constructor."""
        return self._how

    @property
    def plot_lower_bound(self) -> float | None:  # type: ignore[override]
        """Where probabilities end; scores go anywhere."""
        return 0.0 if self._how.reading == "probability" else None

    def _curves(self) -> Curve:
        return Curve(self._rows("x"), self._rows("y"))

    @property
    def axes_labels(self) -> tuple[str, str]:
        """What x and y of the curve are."""
        verb = "inserted" if self.inserts else "deleted"
        return f"share of {self._how.unit} {verb}", self._how.label

    @property
    def protocol(self) -> dict[str, Any]:
        """Everything that decides the number; counts are of this process."""
        examples = number_of(len(self._codes()), "example")
        given = f"`baselines` of {int(self.n_baselines)} of {examples}, else "
        return {
            **super().protocol,
            **self._how.protocol,
            "reference": (given if self.n_baselines else "") + describe(self._how.absent),
            "feature_mask": f"given for {int(self.n_feature_masks)} of {examples}",
        }


class Insertion(_PerturbationMetric):
    """Area under the probability of the target while features appear: higher is better.

    Petsiuk, Das and Saenko (BMVC 2018). ``n_steps + 1`` forward passes per example. Presets
    (`from_preset`): "igos" (50 steps, from the mask papers' blur), "rise" (224 steps, so 224
    pixels each at 224 x 224, from a blur), "idgi" (5 % steps from black, absolute values).

    Args:
        forward_func: from inputs to probabilities, as `captum_ext.ImageClassifier` gives.
        n_steps: into how many even steps the features are split; at most one each counts.
        relative: divide by the probability of the original (IDGI's ratio curve).
        reduction: how a pixel's channels become one rank: "sum" keeps signs, "abs_sum" adds
            absolute values (the convention of PAIR's figures). They rank very differently.
        reference: what is shown where features are absent: a number (0, the default, is black),
            or a function from the inputs to such images, as `captum_ext.curve.GaussianBlur`.
        seed: of the order among features of equal attribution.
        internal_batch_size: frames per model call; None is a choice that bounds memory.
        base: another name of ``reference``, shared with `AIC` and `SIC`: a number, a function or
            a `captum_ext.curve.Base`, as `captum_ext.curve.Interpolated`.
        reading: "probability", which refuses answers outside [0, 1]; or "score" for a model whose
            answers are none, as a regression's. Scores of different examples have no common
            range, so their mean says less; compare methods example by example.
        unit: what the curve's x counts under a ``feature_mask``: "features", where a group
            counts as one whatever its size, or "elements", the share of pixels that are shown.
        kwargs: of `torchmetrics.Metric`.

    >>> from captum_ext import ImageClassifier
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5))
    >>> metric = Insertion(ImageClassifier(net, mean=[0.5] * 3, std=[0.5] * 3), n_steps=4)
    >>> images = torch.rand(2, 3, 4, 4)
    >>> metric.update(images, attributions=torch.rand_like(images), target=1)
    >>> metric.per_example.shape, metric.curve().y.shape
    (torch.Size([2]), torch.Size([1, 5]))
    """

    higher_is_better = True
    inserts = True
    PRESETS = PRESETS["insertion"]


class Deletion(_PerturbationMetric):
    """Area under the probability of the target while features vanish: lower is better.

    Petsiuk, Das and Saenko (BMVC 2018). ``n_steps + 1`` forward passes per example. Presets
    (`from_preset`): "igos" (50 steps, to the mask papers' blur), "rise" (224 steps, to
    zero of normalized images: an `ImageClassifier`'s mean color, 0 for every other model).
    Arguments as of `Insertion`; ``reference`` is what takes the place of features.

    >>> metric = Deletion(lambda x: x, n_steps=1)
    >>> metric.update(torch.tensor([[0.6]]), torch.tensor([[1.0]]), target=0)
    >>> metric.compute()
    tensor(0.3000, dtype=torch.float64)
    """

    higher_is_better = False
    inserts = False
    PRESETS = PRESETS["deletion"]
