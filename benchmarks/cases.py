"""What is measured: every method and metric, each beside what other packages have of its kind.

A case gives runs by name, the first of this package. A peer that is not installed has none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import count
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Saliency
from measure import Run
from PIL import Image
from skimage import data
from torch import Tensor, nn
from torchvision.transforms.functional import to_tensor

from captum_ext import metrics as T
from captum_ext.attr import (
    IDGI,
    IGOS,
    RISE,
    BlurIG,
    GradCam,
    GuidedIG,
    IGOSPlus,
    IGOSPlusPlus,
    MeaningfulPerturbation,
)
from captum_ext.curve import ms_ssim


@dataclass(frozen=True)
class Setting:
    """What a case runs on.

    Args:
        images: (N, 3, height, width) in [0, 1].
        layer: of the model, for Grad-CAM.
        steps: on a path; masks of RISE are eight times as many.
    """

    images: Tensor
    layer: nn.Module
    steps: int

    @property
    def target(self) -> Tensor:
        return torch.zeros(len(self.images), dtype=torch.long)

    @property
    def maps(self) -> Tensor:
        return torch.randn(self.images.shape, generator=torch.Generator().manual_seed(1))

    @property
    def inside(self) -> Tensor:
        mask = torch.zeros(len(self.images), *self.images.shape[2:], dtype=torch.bool)
        height, width = mask.shape[1:]
        mask[:, height // 4 : height // 2, width // 4 : width // 2] = True
        return mask

    @property
    def arrays(self) -> list[np.ndarray]:
        """Images as PAIR takes them: (height, width, 3), one by one."""
        return [x.permute(1, 2, 0).double().numpy() for x in self.images]

    @property
    def gray(self) -> np.ndarray:
        """Maps as Quantus takes them, (N, 1, height, width)."""
        return self.maps.sum(1, keepdim=True).numpy()


Runs = Iterator[tuple[str, Run]]
METHODS: dict[str, Callable[[Setting], Runs]] = {}
METRICS: dict[str, Callable[[Setting], Runs]] = {}
ONE_IMAGE = ("AIC and SIC, WebP, PAIR's protocol", "parameter randomization of the gradient")
"""Cases that use the first image alone, as a peer does or as they are costly."""


def case(table: dict[str, Callable[[Setting], Runs]], name: str) -> Callable[[Any], Any]:
    def add(make: Callable[[Setting], Runs]) -> Callable[[Setting], Runs]:
        table[name] = make
        return make

    return add


@cache
def peer(module: str) -> Any:
    """A module of another package, or None where it can't be imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # PAIR's package still uses what NumPy 2 took away.
    if module.startswith("saliency") and not hasattr(np, "trapz"):
        quantile = np.quantile
        np.trapz = np.trapezoid  # noqa: NPY201
        np.quantile = lambda a, q, interpolation=None, **k: quantile(
            a, q, **({"method": interpolation} if interpolation else {}), **k
        )
    try:
        found = import_module(module)
    except ImportError:
        return None
    if module.startswith("xplique"):
        threads = import_module("tensorflow").config.threading
        try:
            threads.set_intra_op_parallelism_threads(1)
            threads.set_inter_op_parallelism_threads(1)
        except RuntimeError:
            pass  # it runs already
    return found


# Methods


def walks(method: Callable[[Any], Any], s: Setting) -> Run:
    return lambda f: method(f).attribute(s.images, target=s.target, n_steps=s.steps)


def pair_call(f: nn.Module) -> Callable[..., dict[str, np.ndarray]]:
    """The model as PAIR asks it: gradients of arrays, channels last."""

    def call(x: Any, call_model_args: Any = None, expected_keys: Any = None) -> dict[str, Any]:
        batch = torch.tensor(np.asarray(x), dtype=torch.float32).permute(0, 3, 1, 2)
        leaf = batch.requires_grad_()
        (gradient,) = torch.autograd.grad(f(leaf)[:, 0].sum(), leaf)
        return {"INPUT_OUTPUT_GRADIENTS": gradient.permute(0, 2, 3, 1).numpy()}

    return call


def wrapped(f: nn.Module) -> Any:
    """The model as xplique asks it."""
    return peer("xplique.wrappers").TorchWrapper(f, "cpu", is_channel_first=True)


def tensors(s: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Images and one-hot targets as xplique takes them."""
    return s.images.permute(0, 2, 3, 1).numpy(), np.eye(1000, dtype=np.float32)[s.target.numpy()]


@case(METHODS, "IDGI (IG)")
def _(s: Setting) -> Runs:
    yield "captum_ext", walks(lambda f: IDGI(IntegratedGradients(f)), s)
    yield (
        "Captum, IG",
        lambda f: IntegratedGradients(f).attribute(
            s.images, target=s.target, n_steps=s.steps, internal_batch_size=len(s.images)
        ),
    )
    if xplique := peer("xplique.attributions"):
        yield (
            "xplique, IG",
            lambda f: xplique.IntegratedGradients(
                wrapped(f), batch_size=len(s.images), steps=s.steps
            )(*tensors(s)),
        )


@case(METHODS, "Guided IG")
def _(s: Setting) -> Runs:
    yield "captum_ext", walks(GuidedIG, s)
    if pair := peer("saliency.core"):
        yield (
            "PAIR",
            lambda f: [
                pair.GuidedIG().GetMask(
                    a, pair_call(f), x_steps=s.steps, x_baseline=np.zeros_like(a)
                )
                for a in s.arrays
            ],
        )


@case(METHODS, "IDGI (Guided IG)")
def _(s: Setting) -> Runs:
    yield "captum_ext", walks(lambda f: IDGI(GuidedIG(f)), s)


@case(METHODS, "Blur IG")
def _(s: Setting) -> Runs:
    yield "captum_ext", walks(BlurIG, s)
    if pair := peer("saliency.core"):
        yield (
            "PAIR",
            lambda f: [pair.BlurIG().GetMask(a, pair_call(f), steps=s.steps) for a in s.arrays],
        )


@case(METHODS, "IDGI (Blur IG)")
def _(s: Setting) -> Runs:
    yield "captum_ext", walks(lambda f: IDGI(BlurIG(f)), s)


@case(METHODS, "Grad-CAM")
def _(s: Setting) -> Runs:
    side = s.images.shape[-2:]
    yield "captum_ext", lambda f: GradCam(f, s.layer).attribute(s.images, target=s.target)
    yield (
        "Captum",
        lambda f: LayerAttribution.interpolate(
            LayerGradCam(f, s.layer).attribute(s.images, target=s.target), side, "bilinear"
        ),
    )
    if cam := peer("torchcam.methods"):

        def torch_cam(f: nn.Module) -> Any:
            with cam.GradCAM(f, s.layer) as extractor:
                return extractor(s.target.tolist(), f(s.images.clone().requires_grad_()))

        yield "torch-cam", torch_cam
    if grad_cam := peer("pytorch_grad_cam"):

        def pytorch_grad_cam(f: nn.Module) -> Any:
            outputs = import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
            with grad_cam.GradCAM(f, [s.layer]) as extractor:
                return extractor(s.images.clone(), [outputs(0)] * len(s.images))

        yield "pytorch-grad-cam", pytorch_grad_cam


@case(METHODS, "RISE")
def _(s: Setting) -> Runs:
    masks = 8 * s.steps
    yield (
        "captum_ext",
        lambda f: RISE(f).attribute(
            s.images, target=s.target, n_masks=masks, perturbations_per_eval=8
        ),
    )
    if xplique := peer("xplique.attributions"):
        yield (
            "xplique",
            lambda f: xplique.Rise(wrapped(f), batch_size=8 * len(s.images), nb_samples=masks)(
                *tensors(s)
            ),
        )


def optimized(name: str, method: Callable[..., Any]) -> None:
    @case(METHODS, name)
    def _(s: Setting) -> Runs:
        yield "captum_ext", lambda f: method(f).attribute(s.images, target=s.target, n_iter=1)


optimized("I-GOS", IGOS)
optimized("iGOS+", IGOSPlus)
optimized("iGOS++", IGOSPlusPlus)
optimized("Mask", MeaningfulPerturbation)


# Metrics


def scores(metric: Any, *data: Any) -> Any:
    metric.update(*data)
    return metric.compute()


def quantus_batch(s: Setting) -> dict[str, Any]:
    return {
        "x_batch": s.images.numpy(),
        "y_batch": s.target.numpy(),
        "a_batch": s.gray,
        "channel_first": True,
        "softmax": False,
        "device": "cpu",
    }


@case(METRICS, "deletion, 20 steps")
def _(s: Setting) -> Runs:
    yield "captum_ext", lambda f: scores(T.Deletion(f), s.images, s.maps, None, s.target)
    pixels = s.images[0, 0].numel()
    if quantus := peer("quantus"):
        yield (
            "Quantus, pixel flipping",
            lambda f: quantus.PixelFlipping(
                features_in_step=pixels // 16, disable_warnings=True, normalise=False
            )(model=f, **quantus_batch(s)),
        )
    if xplique := peer("xplique.metrics"):
        yield (
            "xplique",
            lambda f: xplique.Deletion(wrapped(f), *tensors(s), batch_size=8, steps=20)(
                s.maps.permute(0, 2, 3, 1).sum(-1).numpy()
            ),
        )


@case(METRICS, "ROAD")
def _(s: Setting) -> Runs:
    yield "captum_ext", lambda f: scores(T.ROAD(f), s.images, s.maps, s.target)
    if quantus := peer("quantus"):
        percentages = [10, 20, 30, 40, 50, 70, 90]
        # Also of one channel, its maps and images disagree in their number of features.
        yield (
            "Quantus",
            lambda f: quantus.ROAD(percentages=percentages, disable_warnings=True, normalise=False)(
                model=f, **quantus_batch(s)
            ),
        )

    if road := peer("pytorch_grad_cam.metrics.road"):

        def pytorch_grad_cam(f: nn.Module) -> Any:
            outputs = import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
            for percentage in (10, 20, 30, 40, 50, 70, 90):
                metric = road.ROADMostRelevantFirst(percentile=100 - percentage)
                metric(s.images, s.gray[:, 0], [outputs(0)] * len(s.images), f)

        yield "pytorch-grad-cam", pytorch_grad_cam


@case(METRICS, "AIC and SIC, MS-SSIM")
def _(s: Setting) -> Runs:
    def both(f: nn.Module) -> Any:
        for metric in T.information_metrics(f, levels=("ms_ssim",)).values():
            scores(metric, s.images, s.maps, None, s.target)

    yield "captum_ext", both


@case(METRICS, "AIC and SIC, WebP, PAIR's protocol")
def _(s: Setting) -> Runs:
    how = T.INFORMATION_PRESETS["xrai"]
    size, n_asked = s.images.shape[2:], count()
    # What a codec makes of noise says nothing of photographs.
    picture = Image.fromarray(data.astronaut()).resize((size[1], size[0]))
    array, first = np.asarray(picture), to_tensor(picture)[None]
    coarse = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    smooth = nn.functional.interpolate(coarse, size, mode="bilinear") + 0.1 * s.maps[:1, :1]

    def another_map() -> torch.Tensor:
        # As in use: what is remembered is the image's frames, not those of a map.
        return smooth.roll(next(n_asked), -1)

    def ours(f: nn.Module) -> Any:
        made = T.information_metrics(f, levels=("entropy",), preset="xrai")
        made.update(first, another_map(), target=s.target[:1])

    yield "captum_ext", ours
    if pair := peer("saliency.metrics.pic"):

        def probability(f: nn.Module, a: np.ndarray) -> list[float]:
            with torch.no_grad():
                x = torch.from_numpy(a.copy()).permute(0, 3, 1, 2).float() / 255
                found = f(x)[:, 0].tolist()
            # Its protocol stops where the image is not the surest: here it always is.
            same = [bool((one == array).all()) for one in a]
            return [0.95 if whole else 0.5 * p for whole, p in zip(same, found, strict=True)]

        def theirs(f: nn.Module) -> Any:
            values = another_map()[0].abs().sum(0).double().numpy()
            known, inner = how.base.known(*array.shape[:2]), list(how.fractions[1:-1])
            # Its two scores differ in what the model is asked for alone: a call each.
            for _ in ("AIC", "SIC"):
                pair.compute_pic_metric(
                    array, values, known, lambda a: probability(f, a), inner, min_pred_value=0.1
                )

        yield "PAIR", theirs


@case(METRICS, "MS-SSIM, 26 frames")
def _(s: Setting) -> Runs:
    image = s.images[:1]
    noise = torch.randn(26, *image.shape[1:], generator=torch.Generator().manual_seed(2))
    frames = image + torch.linspace(0, 0.5, 26).view(-1, 1, 1, 1).to(image) * noise.to(image)
    frames = frames.clamp(0, 1)
    same = image.expand_as(frames).contiguous()
    yield "captum_ext", lambda f: ms_ssim(frames, image)
    if torchmetrics := peer("torchmetrics.functional.image"):
        measure = torchmetrics.multiscale_structural_similarity_index_measure
        yield "torchmetrics", lambda f: measure(frames, same, data_range=1.0, reduction="none")
    if other := peer("pytorch_msssim"):
        yield "pytorch-msssim", lambda f: other.ms_ssim(frames, same, 1.0, size_average=False)


@case(METRICS, "localization")
def _(s: Setting) -> Runs:
    yield "captum_ext", lambda f: scores(T.Localization(), s.maps.sum(1), s.inside)
    if quantus := peer("quantus"):
        masks = s.inside[:, None].numpy()
        given = quantus_batch(s)
        yield (
            "Quantus, pointing game and rank accuracy",
            lambda f: [
                metric(disable_warnings=True, normalise=False)(model=f, s_batch=masks, **given)
                for metric in (quantus.PointingGame, quantus.RelevanceRankAccuracy)
            ],
        )


@case(METRICS, "parameter randomization of the gradient")
def _(s: Setting) -> Runs:
    one = s.images[:1]
    yield "captum_ext", lambda f: scores(T.ParameterRandomization(Saliency), f, one, 0)
