"""AIC and SIC: what the model answers against the information it is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, TypedDict

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self, Unpack

from captum_ext._text import number_of
from captum_ext._torchmetrics import MetricOptions
from captum_ext._typing import Baselines, FeatureMask, Forward, Inputs, Target
from captum_ext.curve import Curve, Interpolated
from captum_ext.curve.bases import BaseLike
from captum_ext.metrics.base.bootstrap import Statistic
from captum_ext.metrics.base.curve_metric import CurveMetric
from captum_ext.metrics.base.example import Reason
from captum_ext.metrics.base.rows import mean_of_rows, renumbered
from captum_ext.metrics.information.bins import BinnedPoints
from captum_ext.metrics.information.measure import measure, rescaled
from captum_ext.metrics.information.protocol import LEVELS, PRESETS, InformationProtocol


class NoCurve(Reason):
    """Why an example has no information curve; the first that holds is said."""

    NOT_FINITE_ATTRIBUTION = "attributions not finite"
    NOT_FINITE_ANSWER = "model's answer not finite"
    LOW_SCORE = "original scores too low"
    NO_RISE = "base scores as high as the original"
    NO_INFORMATION = "base holds as much information as the original"


class Settings(TypedDict, total=False):
    """The settings of AIC and SIC by their names, but the level."""

    preset: str | InformationProtocol
    reduction: str | None
    internal_batch_size: int | None
    seed: int | None
    base: BaseLike | None


class _InformationCurve(CurveMetric):
    """What AIC and SIC share: all but the reading of y.

    Keeps the readings of every frame, so that metrics of one `MetricCollection` group can
    share them: see `information_metrics`.
    """

    REASONS = NoCurve
    averages_rows = True
    higher_is_better = True
    plot_lower_bound = 0.0
    ANSWER: ClassVar[str]
    n_baselines: Tensor

    def __init__(
        self,
        forward_func: Forward,
        level: str = "ms_ssim",
        preset: str | InformationProtocol = "idgi",
        reduction: str | None = None,
        measured: Sequence[str] | None = None,
        internal_batch_size: int | None = None,
        seed: int | None = None,
        base: BaseLike | None = None,
        **kwargs: Unpack[MetricOptions],
    ) -> None:
        how = find_protocol(preset, reduction, seed, base)
        measured = (level,) if measured is None else tuple(measured)
        if level not in LEVELS or level not in measured:
            raise ValueError(
                f"`level` is one of {list(LEVELS)} and among `measured`, but got {level!r} "
                f"and {list(measured)}."
            )
        super().__init__(forward_func, **kwargs)
        self.level, self._how, self._measured = level, how, measured
        self._internal_batch_size = internal_batch_size
        for name in ("probability", "correct", *measured):
            self._add_list(name, len(how.fractions))
        self.add_state("n_baselines", torch.tensor(0), dist_reduce_fx="sum")

    @classmethod
    def from_preset(cls, forward_func: Forward, preset: str, **changes: Any) -> Self:
        """The metric as a paper ran it: "idgi", "xrai" or "tmlr".

        Args:
            forward_func: as in the constructor.
            preset: a key of `captum_ext.metrics.INFORMATION_PRESETS`.
            changes: fields of `InformationProtocol` or arguments of the constructor.
        """
        names = {f.name for f in dataclasses.fields(InformationProtocol)}
        fields = {name: changes.pop(name) for name in names & set(changes)}
        how = dataclasses.replace(find_protocol(preset), **fields)
        return cls(forward_func, preset=how, **changes)

    def update(
        self,
        inputs: Inputs,
        attributions: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: FeatureMask = None,
    ) -> None:
        """Adds images: one forward pass for each frame (idgi 25, xrai 15, tmlr 21).

        Args:
            inputs: images (N, 1 or 3, height, width) in [0, 1].
            attributions: larger where the evidence is stronger, of the images' shape or with
                one channel.
            baselines: base images instead of the preset's, in [0, 1], as in Captum.
            target: the class that counts as right, in any of Captum's forms.
            additional_forward_args: further arguments of the model.
            feature_mask: numbers of superpixels that are revealed as one.

        Raises:
            ValueError: if images leave [0, 1], shapes don't fit, or the model does not give
                probabilities.
            AssertionError: if the target doesn't fit the model's output, as in Captum.
        """
        data = (inputs, attributions, baselines, target, additional_forward_args, feature_mask)
        found = measure(
            self._how, self._measured, self.forward_func, *data, self._internal_batch_size
        )
        codes = torch.where(found.pop("finite"), 0, NoCurve.NOT_FINITE_ATTRIBUTION)
        unanswered = ~torch.isfinite(found["probability"]).all(1)
        codes = torch.where((codes == 0) & unanswered, NoCurve.NOT_FINITE_ANSWER, codes)
        self._append(codes=codes, **found)
        self.n_baselines += 0 if baselines is None else len(codes)

    def _answers(self) -> Tensor:
        """The reading of y, (N, frames)."""
        return self._rows(self.ANSWER)

    def _row_codes(self) -> Tensor:
        codes, y, x = self._rows("codes"), self._answers(), self._rows(self.level)

        def exclude(where: Tensor, code: NoCurve) -> None:
            nonlocal codes
            codes = codes.masked_fill((codes == 0) & where, code)

        if self._how.n_bins:
            if self.ANSWER == "probability":
                exclude(y[:, -1] <= 0, NoCurve.LOW_SCORE)
            return codes
        exclude(y[:, -1] < self._how.min_score, NoCurve.LOW_SCORE)
        exclude(y[:, 0] >= y[:, -1], NoCurve.NO_RISE)
        exclude(x[:, 0] >= x[:, -1], NoCurve.NO_INFORMATION)
        return codes

    def _columns(self) -> dict[str, Tensor]:
        if not self._how.n_bins:
            return super()._columns()
        # Bins have no value per example; an image has one if its frames enter them.
        return {"value": torch.where(self._codes() == 0, 0.0, torch.nan)}

    def _curves(self) -> Curve:
        if self._how.n_bins:
            raise ValueError(
                f"The preset {self._how.name!r} puts the frames of all images into common bins "
                "and has no value per example: use the preset 'xrai' or 'tmlr', or `interval`."
            )
        undefined = (self._row_codes() != 0)[:, None]
        made = rescaled(self._rows(self.level), self._answers(), self._how.n_points)
        nothing = torch.full_like(made.y, torch.nan)
        return Curve(made.x, torch.where(undefined, nothing, made.y))

    def _points(self) -> BinnedPoints:
        owner = self._owners()
        defined = (self._codes() == 0)[owner]
        x, y = self._rows(self.level)[defined].cpu(), self._answers()[defined].cpu()
        if self.level == "entropy":
            # A frame may compress worse than its original; `n_clipped` counts them.
            x = (x / x[:, -1:]).clamp_max(1)
        if self.ANSWER == "probability":
            y = y / y[:, -1:]
        whose = renumbered(owner[defined].cpu())
        # Examples in an order of their own, so that the interval does not depend on the given.
        rank = mean_of_rows(x.sum(1) + y.sum(1), whose).argsort().argsort()[whose]
        order = rank.argsort(stable=True)
        return BinnedPoints(
            x[order],
            y[order],
            self._how.n_bins or 1,
            median=self.ANSWER == "probability",
            owner=rank[order],
        )

    def _statistic(self) -> Statistic:
        if self._how.n_bins:
            points = self._points()
            return Statistic(points.n_examples, points.areas, is_mean=False)
        if self._how.aggregate == "mean":
            return super()._statistic()
        curves = self._defined_curves()
        curves = curves[curves.sum(1).argsort()]
        areas = lambda drawn: torch.stack([_area(_median(curves[d])) for d in drawn])  # noqa: E731
        return Statistic(len(curves), areas, is_mean=False)

    def _defined_curves(self) -> Tensor:
        y = mean_of_rows(self._curves().y, self._owners()).cpu()
        return y[~y.isnan().any(1)]

    def curve(self) -> Curve:
        """The curve of all images, a batch of one: binned, or the mean or median over images."""
        if not self._how.n_bins and self._how.aggregate == "mean":
            return super().curve()
        with self._gathered():
            if self._how.n_bins:
                points = self._points()
                everyone = torch.arange(points.n_examples)[None]
                return Curve(points.centers[None], points.values(everyone))
            curves = self._defined_curves()
        y = _median(curves) if len(curves) else torch.full((self._how.n_points,), torch.nan)
        return Curve(torch.linspace(0, 1, len(y)).to(y)[None], y[None])

    @property
    def n_filled_bins(self) -> int:
        """How many bins hold a frame; the others are interpolated. 0 without bins."""
        with self._gathered():
            return self._points().n_filled if self._how.n_bins else 0

    def frame_shares(self, n_levels: int = 10) -> Tensor:
        """The share of the frames at each level of information, (n_levels,), the least first.

        In even parts of what the whole image has; a mean over the images that are counted, nan
        where there is none. Yang, Wang and Bilgic (CVPR 2023, figure 4) show by it that few frames
        decide the lower half of a curve over compressed sizes.

        Args:
            n_levels: how many parts.
        """
        with self._gathered():
            owner = self._owners()
            defined = (self._codes() == 0)[owner]
            x, owner = self._rows(self.level)[defined].cpu(), renumbered(owner[defined].cpu())
        x = x / x[:, -1:] if self.level == "entropy" else x
        levels = (x * n_levels).long().clamp(0, n_levels - 1)
        held = torch.nn.functional.one_hot(levels, n_levels).to(x).mean(1)
        return mean_of_rows(held, owner).mean(0)

    @property
    def n_clipped(self) -> int:
        """How many frames of counted images compress worse than their original."""
        with self._gathered():
            x = self._rows(self.level)[(self._codes() == 0)[self._owners()]]
        return int((x > x[:, -1:]).sum()) if self.level == "entropy" else 0

    @property
    def axes_labels(self) -> tuple[str, str]:
        """What x and y of the curve are."""
        x = "compressed size" if self.level == "entropy" else "MS-SSIM with the original"
        y = "accuracy" if self.ANSWER == "correct" else "probability"
        if self._how.n_bins:
            return x + " / original's" * (self.level == "entropy"), y + " ratio" * (y[0] == "p")
        return f"{x}, rescaled", f"{y}, rescaled"

    @property
    def protocol(self) -> dict[str, Any]:
        """Everything that decides the number; counts are of this process."""
        given = f"`baselines` of {number_of(int(self.n_baselines), 'example')}, else "
        how = self._how.description
        how["base"] = (given if self.n_baselines else "") + how["base"]
        return {**super().protocol, "level": self.level, **how}


class AccuracyInformationCurve(_InformationCurve):
    """Area under the accuracy against the information shown (AIC): higher is better.

    Kapishnikov et al. (ICCV 2019); Yang, Wang and Bilgic (CVPR 2023, section 5.2) propose
    MS-SSIM as the measure of information. An image counts as right where no class has a
    higher probability than its target; where classes don't exclude one another (sigmoids, whose
    rows don't sum to 1), where its target's is at least .5.

    Presets: "idgi" (the default) puts the frames of all images into 100 bins of x: it has no
    value per example. "xrai" and "tmlr" make a curve per image, rescaled between its base and
    its original, and leave out images whose original is not recognized or whose base already is.

    Args:
        forward_func: from images in [0, 1] to probabilities, as `captum_ext.ImageClassifier`.
        level: the information of a frame: "ms_ssim" with the original, or "entropy", the size
            of a lossless file.
        preset: "idgi", "xrai", "tmlr" or an `InformationProtocol`.
        reduction: "sum" or "abs_sum" instead of the preset's: how channels become one rank.
        measured: all levels to read, for metrics that share one pass.
        internal_batch_size: frames per model call; None is a choice that bounds memory.
        seed: instead of the preset's 0: of the order among equals, and of the pixels that an
            interpolated base knows.
        base: instead of the preset's, what is shown where pixels are absent: a number, a function
            or a `captum_ext.curve.Base`; frames are rounded to 8 bits.
        kwargs: of `torchmetrics.Metric`.

    >>> from captum_ext import ImageClassifier
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 5))
    >>> metric = AIC(ImageClassifier(net, mean=[0.5] * 3, std=[0.5] * 3))
    >>> images = torch.rand(2, 3, 16, 16)
    >>> metric.update(images, attributions=torch.rand_like(images), target=1)
    >>> metric.compute().shape, metric.curve().y.shape
    (torch.Size([]), torch.Size([1, 100]))
    """

    ANSWER = "correct"


class SoftmaxInformationCurve(_InformationCurve):
    """Area under the probability against the information shown (SIC): higher is better.

    As `AccuracyInformationCurve`, with the target's probability relative to the original's;
    the preset "idgi" takes the median per bin, and leaves out images whose original has
    probability 0.

    >>> metric = SIC(lambda x: x.mean((2, 3)), level="entropy", preset="xrai")
    >>> image = torch.rand(1, 3, 16, 16) * torch.tensor([1.0, 0.1, 0.1]).view(1, 3, 1, 1)
    >>> metric.update(image, attributions=image, target=0)
    >>> metric.excluded
    {'original scores too low': 1}
    """

    ANSWER = "probability"


AIC = AccuracyInformationCurve
SIC = SoftmaxInformationCurve


def find_protocol(
    preset: str | InformationProtocol,
    reduction: str | None = None,
    seed: int | None = None,
    base: BaseLike | None = None,
) -> InformationProtocol:
    """The protocol of that name, or as given, with another reduction or seed if one is named."""
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(f"`preset` is one of {[*PRESETS]}, but got {preset!r}.")
        preset = PRESETS[preset]
    given = {"reduction": reduction, "base": base}
    changes: dict[str, Any] = {name: v for name, v in given.items() if v is not None}
    if seed is not None:
        changes["seed"] = seed
        if base is None and isinstance(preset.base, Interpolated):
            changes["base"] = dataclasses.replace(preset.base, seed=seed)
    return dataclasses.replace(preset, **changes)


def _median(curves: Tensor) -> Tensor:
    return torch.from_numpy(np.median(curves.numpy(), axis=0))


def _area(y: Tensor) -> Tensor:
    return torch.trapezoid(y, torch.linspace(0, 1, len(y)).to(y))
