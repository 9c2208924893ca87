"""One pass over the bokeh images of a batch, read for every information curve at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from captum_ext._tensors import accumulation_dtype, format_inputs, moved
from captum_ext._typing import Baselines, FeatureMask, Forward, Inputs, Target
from captum_ext.curve import Constant, Curve, FrameSource, rank
from captum_ext.curve.bases import Shown
from captum_ext.curve.codec import CompressedSize, in_8_bits
from captum_ext.curve.frames import read
from captum_ext.curve.ms_ssim import MultiScaleSimilarity
from captum_ext.curve.response import answers, correctness
from captum_ext.metrics.base.checks import format_attributions, require_probabilities
from captum_ext.metrics.information.protocol import LEVELS, InformationProtocol
from captum_ext.score import Score

Readings = dict[str, Tensor]


def measure(
    how: InformationProtocol,
    levels: Sequence[str],
    forward_func: Forward,
    inputs: Inputs,
    attributions: Inputs,
    baselines: Baselines = None,
    target: Target = None,
    additional_forward_args: Any = None,
    feature_mask: FeatureMask = None,
    internal_batch_size: int | None = None,
) -> Readings:
    """Reads every frame once: "probability", "correct" and each level, (N, frames) each.

    And "finite", (N,): whether an example's attributions are.
    """
    images = format_images(inputs, levels)
    score = Score(
        forward_func,
        (images,),
        target,
        additional_forward_args,
        chunk=internal_batch_size,
        keep_undefined=True,
    )
    with score.borrowed():
        (maps,), finite = format_attributions(attributions, (images,), feature_mask is not None)
        ranking = rank((maps,), feature_mask, how.reduction, how.seed)
        counts = how.counts(ranking.n_features)
        base = how.base if baselines is None else Constant(baselines)
        frames = Shown(base.frames((images,), ranking, counts), (images,), counts, in_unit=True)
        found = _read(frames, how, levels, images, score)
        require_probabilities(found["probability"])
        return {**found, "finite": finite}


def _read(
    frames: FrameSource,
    how: InformationProtocol,
    levels: Sequence[str],
    images: Tensor,
    score: Score,
) -> Readings:
    readings: dict[str, Any] = {}
    with ExitStack() as stack:
        # First, so that its threads work beside the model.
        if "entropy" in levels:
            readings["entropy"] = stack.enter_context(CompressedSize(how.codec))
        readings["answers"] = lambda points, rows: answers(score, points, rows)
        if "ms_ssim" in levels:
            similarity = MultiScaleSimilarity(in_8_bits(images))
            readings["ms_ssim"] = lambda points, rows: similarity(points[0], rows)
        values = read(frames, list(readings.values()), score.chunk)
    device, pairs = images.device, zip(readings, values, strict=True)
    found = {name: moved(value, device, accumulation_dtype(device)) for name, value in pairs}
    given = found.pop("answers")
    return {**found, "probability": given[..., 0], "correct": correctness(given)}


def format_images(inputs: Inputs, levels: Sequence[str]) -> Tensor:
    """The one tensor of images in [0, 1], checked."""
    unknown = [level for level in levels if level not in LEVELS]
    if unknown or not levels:
        raise ValueError(f"`level` is one of {list(LEVELS)}, but got {unknown or 'none'}.")
    (images, *more) = format_inputs(inputs, needs_gradient=False)
    if more or images.dim() != 4:
        raise ValueError(
            "`inputs` must be one tensor of images (N, channels, height, width), but got "
            f"{', '.join(str(tuple(x.shape)) for x in (images, *more))}: other data are measured "
            "by `Insertion` and `Deletion`."
        )
    if "entropy" in levels and images.shape[1] not in (1, 3):
        raise ValueError(
            '`level="entropy"` is the size of an image file, of 1 or 3 channels, but got '
            f'`inputs` of shape {tuple(images.shape)}: use `level="ms_ssim"`.'
        )
    if not images.is_floating_point():
        raise TypeError(
            f"`inputs` must be images in [0, 1] of floating point, but got {images.dtype}: convert "
            "them with `images.float() / 255`, and let the model convert back."
        )
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        raise ValueError(
            f"`inputs` must be images in [0, 1], but got values from {low:.3g} to {high:.3g}: move "
            "normalization into the model with `captum_ext.ImageClassifier`."
        )
    return images


def rescaled(x: Tensor, y: Tensor, n_points: int) -> Curve:
    """A curve per image from its base (0, 0) to its original (1, 1), never falling.

    Both axes are rescaled between the first and the last frame and cut to [0, 1], points put
    in order of x, y replaced by its running maximum, interpolated on even points: the
    ``compute_pic_metric`` of PAIR, whose maximum runs before the sorting.

    Args:
        x, y: readings of the frames, (N, frames), from base to original.
        n_points: on how many points from 0 to 1 the curves are given.

    >>> x, y = torch.tensor([[10.0, 30.0, 20.0, 50.0]]), torch.tensor([[0.1, 0.9, 0.5, 0.9]])
    >>> rescaled(x, y, 5).y
    tensor([[0.0000, 0.5000, 1.0000, 1.0000, 1.0000]])
    """
    ends = [(values[:, :1], values[:, -1:]) for values in (x, y)]
    x, y = (
        ((values - low) / (high - low)).clamp(0, 1)
        for values, (low, high) in zip((x, y), ends, strict=True)
    )
    order = x.argsort(dim=1, stable=True)
    curve = Curve(x.gather(1, order), y.gather(1, order)).monotone()
    return curve.resample(torch.linspace(0, 1, n_points))
