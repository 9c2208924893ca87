"""The methods that the command knows by name, and how a user's own gets one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from captum.attr import GradientShap, IntegratedGradients, NoiseTunnel, Occlusion, Saliency
from torch import Tensor

from captum_ext._captum import Attribution
from captum_ext._typing import Forward
from captum_ext.attr.aligned import AlignedContribution
from captum_ext.attr.blur_ig import BlurIG
from captum_ext.attr.configured import Configured
from captum_ext.attr.grad_cam import GradCam
from captum_ext.attr.guided_ig import GuidedIG
from captum_ext.attr.idgi import IDGI
from captum_ext.attr.igos import IGOSPlusPlus
from captum_ext.attr.path_attribution import PathAttribution
from captum_ext.blur import GaussianBlur
from captum_ext.path import EqualRise, StraightLine, riemann
from captum_ext.registry import METHODS, Method


def register(
    name: str,
    make: Callable[[Any], Attribution],
    label: str | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Gives a method a name that ``--methods`` of the command understands.

    In the file of ``--model file.py:factory`` it is known as soon as the file is loaded.

    Args:
        name: as typed, a word without commas.
        make: from the model to the attribution method.
        label: as shown in tables and pictures; the name, if there is none.
        overwrite: whether the name may be taken from another method.

    Raises:
        TypeError: if ``make`` can't be called.
        ValueError: if the name is taken.

    >>> from captum.attr import InputXGradient
    >>> register("mine", InputXGradient)
    >>> METHODS["mine"].make(len).get_name()
    'Input X Gradient'
    """
    if not callable(make):
        raise TypeError(f"`make` makes the method from a model, but got {type(make).__name__}.")
    METHODS.add(name, Method(name if label is None else label, make), overwrite)


def _window(inputs: Tensor) -> tuple[int, ...]:
    """All channels of a square, a seventh of the sides and so 32 x 32 at 224 x 224."""
    return (inputs.shape[1], *(max(1, side // 7) for side in inputs.shape[2:]))


def _stride(inputs: Tensor) -> tuple[int, ...]:
    return (inputs.shape[1], *(max(1, side // 14) for side in inputs.shape[2:]))


def _noise(inputs: Tensor) -> float:
    """SmoothGrad's 15 % of the range of values (Smilkov et al., arXiv:1706.03825)."""
    return 0.15 * float(inputs.max() - inputs.min())


def gradient(model: Forward) -> Configured:
    """The gradient with its sign; columns of absolute values take its size by themselves."""
    return Configured(Saliency(model), abs=False)


def smoothgrad(model: Forward) -> Configured:
    """The mean gradient of 50 noisy copies."""
    return Configured(
        NoiseTunnel(Saliency(model)), nt_samples=50, nt_samples_batch_size=10, stdevs=_noise,
        abs=False,
    )  # fmt: skip


def gradient_shap(model: Forward) -> Configured:
    """GradientShap from black."""
    return Configured(GradientShap(model), n_samples=20, baselines=lambda x: x[:1] * 0)


def occlusion(model: Forward) -> Configured:
    """Occlusion by squares that overlap by half."""
    return Configured(Occlusion(model), sliding_window_shapes=_window, strides=_stride)


def integrated_gradients(model: Forward) -> PathAttribution:
    """IG from black by left Riemann sums, so that it shares its walk with IDGI.

    Captum's ``IntegratedGradients`` with ``method="riemann_left"``; its default is another
    quadrature.
    """
    return PathAttribution(model, StraightLine(), riemann)


def idgi_ig(model: Forward) -> IDGI:
    """IDGI along the path of IG."""
    return IDGI(IntegratedGradients(model))


def idgi_guided_ig(model: Forward) -> IDGI:
    """IDGI along the path of Guided IG."""
    return IDGI(GuidedIG(model))


def idgi_blur_ig(model: Forward) -> IDGI:
    """IDGI along the path of Blur IG."""
    return IDGI(BlurIG(model))


def aligned(model: Forward) -> Configured:
    """Aligned contributions from the blurred image, in equal rises of the score."""
    method = AlignedContribution(IntegratedGradients(model), placement=EqualRise())
    return Configured(method, baselines=GaussianBlur(51, 50.0))


def igos_plus_plus_from_grad_cam(model: Any) -> Configured:
    """iGOS++ whose masks begin at Grad-CAM's map, four iterations; not the paper's."""
    return Configured(IGOSPlusPlus(model, start=GradCam(model)), n_iter=4)
