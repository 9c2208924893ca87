"""What `evidence.py` measures of one image: every method's map by every score."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from captum.attr import Saliency
from torch import Tensor, nn

from captum_ext.attr import (
    IDGI,
    IGOS,
    RISE,
    BlurIG,
    GradCam,
    GuidedIG,
    IGOSPlus,
    IGOSPlusPlus,
    PathAttribution,
    Start,
    walk,
)
from captum_ext.curve import GaussianBlur
from captum_ext.metrics.sanity.impostors import Edges, RandomMap
from captum_ext.path import StraightLine, aligned_contribution, trapezoid

BLUR = GaussianBlur(51, 50.0)
Maps = dict[str, Tensor]


@dataclass(frozen=True)
class Settings:
    """How much is asked of the model."""

    steps: int = 50
    masks: int = 500
    iterations: int | None = None
    iterations_from_start: int = 4
    curve_steps: int = 20
    without: tuple[str, ...] = ()


QUICK = Settings(steps=2, masks=4, iterations=1, iterations_from_start=1, curve_steps=2)


@dataclass(frozen=True)
class Example:
    """An image (1, C, H, W) in [0, 1], its class if known, and where the object is, if known."""

    name: str
    image: Tensor
    label: int | None = None
    region: Tensor | None = None

    @property
    def digest(self) -> str:
        """Of the pixels: a name alone does not say which they are."""
        return sha256(self.image.numpy().tobytes()).hexdigest()[:16]


def line_methods(model: nn.Module) -> dict[str, PathAttribution]:
    line = PathAttribution(model, StraightLine(), trapezoid)
    return {"IG": line, "IDGI over IG": IDGI(line)}


def path_maps(model: nn.Module, image: Tensor, target: int, how: Settings) -> Maps:
    """Path methods; those of one path share its gradients."""
    guided, blur = GuidedIG(model), BlurIG(model)
    methods = {
        **line_methods(model),
        "Guided IG": guided,
        "IDGI over Guided IG": IDGI(guided),
        "Blur IG": blur,
        "IDGI over Blur IG": IDGI(blur),
    }
    maps = walk([*methods.values()], image, target=target, n_steps=how.steps)
    last = aligned_from_blur(model, image, target, how)
    return dict(zip(methods, maps, strict=True)) | {"aligned": last}


def aligned_from_blur(model: nn.Module, image: Tensor, target: int, how: Settings) -> Tensor:
    method = PathAttribution(model, StraightLine(), aligned_contribution)
    found: Tensor = method.attribute(image, BLUR(image), target=target, n_steps=how.steps)
    return found


PATHS = (
    "IG",
    "IDGI over IG",
    "Guided IG",
    "IDGI over Guided IG",
    "Blur IG",
    "IDGI over Blur IG",
    "aligned",
)


def others(model: nn.Module, side: int, how: Settings) -> dict[str, Callable[..., Any]]:
    """All other methods, as functions of image and target."""
    size = min(28, side)
    n = {} if how.iterations is None else {"n_iter": how.iterations}
    started = IGOSPlusPlus(model, mask_size=size, start=Start(GradCam(model)))
    masks = {"I-GOS": IGOS, "iGOS+": IGOSPlus, "iGOS++": IGOSPlusPlus}
    found = {
        "edges": lambda x, k: Edges().attribute(x),
        "random": lambda x, k: RandomMap().attribute(x),
        "gradient": lambda x, k: Saliency(model).attribute(x, target=k),
        "Grad-CAM": lambda x, k: GradCam(model).attribute(x, target=k),
        "RISE": lambda x, k: RISE(model).attribute(x, target=k, n_masks=how.masks),
        "iGOS++ from Grad-CAM": lambda x, k: started.attribute(
            x, target=k, n_iter=how.iterations_from_start
        ),
    }
    for name, kind in masks.items():
        method = kind(model, mask_size=size)
        found[name] = lambda x, k, method=method: method.attribute(x, target=k, **n)
    return found


def all_maps(model: nn.Module, image: Tensor, target: int, how: Settings) -> Iterator[tuple]:
    """Names, maps and processor seconds; path methods come as one."""
    start = time.process_time()
    maps = path_maps(model, image, target, how)
    yield maps, "paths", time.process_time() - start
    for name, make in others(model, image.shape[-1], how).items():
        if name in how.without:
            continue
        start = time.process_time()
        found = make(image, target).detach()
        yield {name: found}, name, time.process_time() - start
