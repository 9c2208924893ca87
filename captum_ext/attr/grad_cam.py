"""Grad-CAM over the last convolution, in the shape of the input."""

from __future__ import annotations

from typing import Any

from captum.attr import GuidedGradCam, LayerGradCam
from torch import Tensor, nn
from torch.nn import functional

from captum_ext._captum import GradientAttribution, log_usage
from captum_ext._typing import Target


def last_convolution(model: nn.Module) -> nn.Module:
    """The convolution over images that a model registers last.

    Raises:
        ValueError: if the model has none.

    >>> last_convolution(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Flatten()))
    Conv2d(8, 4, kernel_size=(1, 1), stride=(1, 1))
    """
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    if not found:
        raise ValueError("`forward_func` has no nn.Conv2d that Grad-CAM could look at.")
    return found[-1]


class GradCam(GradientAttribution):
    """Gradient-weighted class activation mapping (Selvaraju et al., ICCV 2017).

    Captum's `LayerGradCam` with the paper's ReLU, enlarged to the input. One gradient.

    Args:
        forward_func: a module with convolutions.
        layer: whose activations are weighted; None is `last_convolution`.

    >>> import torch
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> GradCam(net).attribute(torch.rand(2, 3, 8, 8), target=1).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, forward_func: nn.Module, layer: nn.Module | None = None) -> None:
        if not isinstance(forward_func, nn.Module):
            raise TypeError(
                "`forward_func` must be a module whose layers Grad-CAM can see, but got "
                f"{type(forward_func).__name__}."
            )
        super().__init__(forward_func)
        self.layer = layer if layer is not None else last_convolution(forward_func)

    def get_name(self) -> str:
        """The method's name in the paper."""
        return "Grad-CAM"

    @log_usage()
    def attribute(
        self, inputs: Tensor, target: Target = None, additional_forward_args: Any = None
    ) -> Tensor:
        """The map of each image, at least 0 and alike over channels.

        Args:
            inputs: images (N, C, H, W).
            target: what of the model's output is explained, as in Captum.
            additional_forward_args: further arguments of the model, as in Captum.
        """
        cam = LayerGradCam(self.forward_func, self.layer).attribute(
            inputs, target, additional_forward_args, relu_attributions=True
        )
        return enlarged(cam, inputs)


def enlarged(cam: Tensor, inputs: Tensor) -> Tensor:
    """A layer's map (N, 1, h, w) in the shape of its images, bilinearly.

    >>> import torch
    >>> enlarged(torch.ones(1, 1, 2, 2), torch.rand(1, 3, 4, 4)).sum()
    tensor(48.)
    """
    size = inputs.shape[2:]
    fine = functional.interpolate(cam.detach(), size, mode="bilinear", align_corners=False)
    return fine.expand_as(inputs).contiguous()


def guided_grad_cam(forward_func: nn.Module) -> GuidedGradCam:
    """Captum's Guided Grad-CAM over the last convolution.

    Raises:
        ValueError: if the model has no `nn.ReLU`, the only activation that Captum guides.
    """
    if not any(isinstance(m, nn.ReLU) for m in forward_func.modules()):
        raise ValueError(
            "guided backpropagation changes the gradient of nn.ReLU modules, and this model has "
            "none (nn.ReLU6 and functional ReLUs are not seen)"
        )
    return GuidedGradCam(forward_func, last_convolution(forward_func))
