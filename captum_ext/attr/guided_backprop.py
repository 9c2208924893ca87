"""Guided backpropagation over all rectifiers of a model, and its product with Grad-CAM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from captum_ext._captum import GradientAttribution, compute_gradients, log_usage
from captum_ext._tensors import format_inputs, format_output
from captum_ext._typing import Form, Target, Tensors
from captum_ext.attr.activations import ScoresOf, require_visible
from captum_ext.attr.grad_cam import GradCam
from captum_ext.score import Score

# Nodes of autograd's graph: what was run, whether by a module or a function.
_OTHERS = {
    "CeluBackward": "CELU",
    "EluBackward": "ELU",
    "GeluBackward": "GELU",
    "HardswishBackward": "Hardswish",
    "LeakyReluBackward": "LeakyReLU",
    "MishBackward": "Mish",
    "PreluKernelBackward": "PReLU",
    "SiluBackward": "SiLU",
    "SoftplusBackward": "Softplus",
}
_RECTIFIERS = (nn.ReLU, nn.ReLU6)
_NOT_RECTIFIERS = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardswish,
    nn.LeakyReLU,
    nn.Mish,
    nn.PReLU,
    nn.SELU,
    nn.SiLU,
    nn.Softplus,
)


class GuidedBackprop(GradientAttribution):
    """Guided backpropagation (Springenberg et al., ICLR workshop 2015, arXiv:1412.6806).

    The gradient, of which no rectifier lets through what is negative. Rectifiers are found in the
    graph of what ran, so that functional and in-place ReLUs and ReLU6 are guided too, where
    Captum's class of this name hooks modules ``nn.ReLU`` alone. One gradient.

    Args:
        forward_func: a module with ReLUs, and without other activations of their kind.

    Raises:
        ValueError: where the model has no rectifier, or others such as GELU and SiLU, for which
            guided backpropagation is not defined; as far as modules tell, at once.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> GuidedBackprop(net).attribute(torch.rand(2, 3, 8, 8), target=1).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, forward_func: nn.Module) -> None:
        if not isinstance(forward_func, nn.Module):
            raise TypeError(
                "`forward_func` must be a module whose layers guided backpropagation can see, but "
                f"got {type(forward_func).__name__}."
            )
        require_visible(forward_func)
        kinds = {type(module) for module in forward_func.modules()}
        others = {kind.__name__ for kind in kinds if issubclass(kind, _NOT_RECTIFIERS)}
        opaque = {k for k in kinds if not k.__module__.startswith(("torch.nn.", "captum_ext."))}
        if others:
            raise ValueError(_refusal(others))
        if not opaque and not any(issubclass(kind, _RECTIFIERS) for kind in kinds):
            raise ValueError(_refusal(set()))
        super().__init__(forward_func)

    def get_name(self) -> str:
        """The method's name in the paper."""
        return "Guided Backpropagation"

    @log_usage()
    def attribute(
        self, inputs: Form, target: Target = None, additional_forward_args: Any = None
    ) -> Form:
        """The guided gradient, in the shape of the inputs; arguments as of `GradCam`."""
        tensors = format_inputs(inputs)
        score = Score(
            ScoresOf(self.forward_func),
            tensors,
            target,
            additional_forward_args,
            gradient_func=guided_gradients,
        )
        with torch.inference_mode(False):
            _, gradients = score.with_gradient(tensors)
        return format_output(gradients, inputs)


class GuidedGradCam(GradientAttribution):
    """Guided Grad-CAM (Selvaraju et al., ICCV 2017): Grad-CAM times guided backpropagation.

    Two gradients.

    Args:
        forward_func: as for `GuidedBackprop`.
        grad_cam: another map than that of `GradCam` with its defaults.

    Raises:
        ValueError: as `GuidedBackprop`.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> GuidedGradCam(net).attribute(torch.rand(2, 3, 8, 8), target=1).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, forward_func: nn.Module, grad_cam: GradCam | None = None) -> None:
        self.grad_cam = grad_cam or GradCam(forward_func)
        self.guided = GuidedBackprop(forward_func)
        super().__init__(forward_func)

    def get_name(self) -> str:
        """The method's name in the paper."""
        return "Guided Grad-CAM"

    @log_usage()
    def attribute(
        self, inputs: Form, target: Target = None, additional_forward_args: Any = None
    ) -> Form:
        """The map of each image; arguments as of `GradCam`."""
        tensors = format_inputs(inputs)
        cams = self.grad_cam.attribute(tensors, target, additional_forward_args)
        gradients = self.guided.attribute(tensors, target, additional_forward_args)
        products = tuple(g * cam for g, cam in zip(gradients, cams, strict=True))
        return format_output(products, inputs)


def guided_gradients(
    forward_fn: Any, inputs: Tensors, target_ind: Target, additional_forward_args: Any = None
) -> Tensors:
    """Gradients that no rectifier lets through where they are negative, as a `gradient_func`.

    Raises:
        ValueError: where no rectifier ran, or an activation that is none.
    """
    with torch.enable_grad():
        output = forward_fn(*inputs, *(additional_forward_args or ()))
    nodes = list(_nodes(output))
    others = {
        label for node in nodes for start, label in _OTHERS.items() if node.name().startswith(start)
    }
    rectifiers = [node for node in nodes if _is_rectifier(node)]
    if nodes and (others or not rectifiers):
        raise ValueError(_refusal(others))
    for node in rectifiers:
        node.register_hook(_positive)
    return compute_gradients(lambda *_: output, inputs, target_ind)


def _refusal(others: set[str]) -> str:
    found = f"this model has {', '.join(sorted(others))}" if others else "this model has none"
    return (
        "guided backpropagation is defined for rectifiers, nn.ReLU, nn.ReLU6 and their functions, "
        f"but {found}: use Grad-CAM, or a method that needs none."
    )


def _nodes(output: Tensor) -> Iterator[Any]:
    seen: set[Any] = {None}
    waiting: list[Any] = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            yield node
            waiting.extend(following for following, _ in node.next_functions)


def _is_rectifier(node: Any) -> bool:
    name = node.name()
    if name.startswith(("ReluBackward", "Relu6Backward")):
        return True
    # ReLU6 is a Hardtanh from 0 to 6, and clamp(min=0) another way to write a ReLU.
    low = getattr(node, "_saved_min_val", getattr(node, "_saved_min", None))
    return (
        name.startswith(("HardtanhBackward", "Clamp")) and isinstance(low, int | float) and low == 0
    )


def _positive(given: tuple[Tensor | None, ...], _: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    first, *others = given
    return (None if first is None else first.clamp(min=0), *others)
