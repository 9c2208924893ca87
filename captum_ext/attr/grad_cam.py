"""Grad-CAM over the activation closest to the output, in the shape of the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from captum_ext._captum import GradientAttribution, compute_gradients, log_usage
from captum_ext._tensors import format_inputs, format_output
from captum_ext._typing import Form, Target, Tensors
from captum_ext.attr.activations import (
    Candidate,
    Reading,
    Record,
    ScoresOf,
    activation_of,
    candidates,
    reaches,
    reading_of,
    recorded,
    require_visible,
    tokens_by_count,
)
from captum_ext.score import NoGradientError, Score

Reshape = Callable[[Tensor], Tensor]
RESHAPES = ("tokens", "channels_last")
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class GradCam(GradientAttribution):
    """Gradient-weighted class activation mapping (Selvaraju et al., ICCV 2017).

    The sum of a layer's channels, each weighted by the mean of its gradient, without what is
    negative, enlarged to the input. One gradient. Images, volumes (N, C, D, H, W) and signals
    (N, C, L).

    By default that activation is read which is closest to the output of those that have space
    and through which everything goes that the input does to the output. That is the end of the
    last stage of ResNet, DenseNet, Inception or ConvNeXt, before pooling; of a transformer the
    last tokens of which more than the class token is read.

    Args:
        forward_func: a module whose layers can be seen as they run: neither compiled nor traced.
        layer: whose activation is read instead; it runs once.
        reshape: how the activation is read. None finds out, or asks; "channels_last" is
            (N, *space, channels), as in Swin; "tokens" (N, tokens, channels), of which the last
            are places row by row; a function (with ``layer``) gives (N, channels, *space).

    >>> import torch
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> GradCam(net).attribute(torch.rand(2, 3, 8, 8), target=1).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(
        self,
        forward_func: nn.Module,
        layer: nn.Module | None = None,
        reshape: str | Reshape | None = None,
    ) -> None:
        """As the class says."""
        if not isinstance(forward_func, nn.Module):
            raise TypeError(
                "`forward_func` must be a module whose layers Grad-CAM can see, but got "
                f"{type(forward_func).__name__}."
            )
        require_visible(forward_func)
        if not (layer is None or isinstance(layer, nn.Module)):
            raise TypeError(
                f"`layer` is a module within `forward_func`, but got {type(layer).__name__}."
            )
        if not (reshape is None or reshape in RESHAPES or callable(reshape)):
            raise ValueError(
                f"`reshape` is None, one of {list(RESHAPES)} or a function, but got {reshape!r}."
            )
        if callable(reshape) and layer is None:
            raise ValueError("`reshape` as a function needs the `layer` that it is for.")
        super().__init__(forward_func)
        self.layer = layer
        self.reshape = reshape

    def get_name(self) -> str:
        """The method's name in the paper."""
        return "Grad-CAM"

    @log_usage()
    def attribute(
        self, inputs: Form, target: Target = None, additional_forward_args: Any = None
    ) -> Form:
        """The map of each image, at least 0 and alike over channels.

        Args:
            inputs: images (N, C, H, W), volumes or signals, or a tuple of them, each of which
                gets the map of its own layer.
            target: what of the model's output is explained, as in Captum.
            additional_forward_args: further arguments of the model, as in Captum.

        Raises:
            ValueError: if no layer has space, ``layer`` does not run once, or its activation
                can't be read without ``reshape``.
        """
        tensors = format_inputs(inputs)
        for x in tensors:
            if not 3 <= x.dim() <= 5:
                raise ValueError(
                    "`inputs` must have places, (N, C, L), (N, C, H, W) or (N, C, D, H, W), but "
                    f"got {tuple(x.shape)}: give tables as `additional_forward_args`."
                )
        score = Score(
            ScoresOf(self.forward_func),
            tensors,
            target,
            additional_forward_args,
            gradient_func=self._maps,
        )
        with score.borrowed():
            _, maps = score.with_gradient(tensors)
            return format_output(maps, inputs)

    def _maps(
        self,
        forward_fn: Any,
        inputs: Tensors,
        target_ind: Target,
        additional_forward_args: Any = None,
    ) -> Tensors:
        """The maps in place of gradients, as a `gradient_func`."""
        with torch.enable_grad(), recorded(self.forward_func, self.layer) as record:
            output = forward_fn(*inputs, *(additional_forward_args or ()))
        if output.grad_fn is None or not (self.layer or all(reaches(output, x) for x in inputs)):
            raise NoGradientError()
        found = [self._candidates(output, x, record) for x in inputs]
        wanted = list({id(c.activation): c.activation for group in found for c in group}.values())
        gradients = compute_gradients(lambda *_: output, tuple(wanted), target_ind)
        of = {id(a): g for a, g in zip(wanted, gradients, strict=True)}
        return tuple(
            enlarged(_cam([(c, of[id(c.activation)]) for c in group], self.reshape, x), x)
            for group, x in zip(found, inputs, strict=True)
        )

    def _candidates(self, output: Tensor, x: Tensor, record: Record) -> list[Candidate]:
        if self.layer is None:
            named = self.reshape if isinstance(self.reshape, str) else None
            return candidates(output, x, record, self.forward_func, named)
        activation = activation_of(self.layer, record)
        if self.reshape == "tokens":
            reading = tokens_by_count(activation, x, record)
        elif self.reshape == "channels_last":
            reading = Reading("channels_last")
        elif self.reshape is None:
            reading = reading_of(activation, x, record)
        else:
            reading = Reading()
        return [Candidate(activation, reading)]


def _cam(pairs: list[tuple[Candidate, Tensor]], reshape: Any, x: Tensor) -> Tensor:
    """The map of the first candidate whose places the gradient reaches, (N, 1, *space)."""
    for candidate, gradient in pairs:
        weight = candidate.reading(gradient)
        # A class token that alone is read leaves the places without gradient.
        if weight.any() or not gradient.any():
            break
    else:
        raise ValueError(
            "`layer` must be one whose places are read, but of that of shape "
            f"{tuple(candidate.activation.shape)} the class token alone is: choose an earlier "
            "`layer`, before tokens look at one another for the last time."
        )
    value = candidate.reading(candidate.activation.detach())
    if callable(reshape):
        value, weight = reshape(value), reshape(weight)
    if not isinstance(value, Tensor) or value.dim() != x.dim() or len(value) != len(x):
        what = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"`reshape` must give (N, channels, *space) for inputs {tuple(x.shape)}, but gave "
            f"{what}."
        )
    wide = torch.promote_types(value.dtype, torch.float32)
    value, weight = value.to(wide), weight.to(wide)
    space = tuple(range(2, value.dim()))
    return (weight.mean(space, keepdim=True) * value).sum(1, keepdim=True).relu()


def enlarged(cam: Tensor, inputs: Tensor) -> Tensor:
    """A layer's map (N, 1, *space) in the shape of its inputs, linearly along every side.

    >>> import torch
    >>> enlarged(torch.ones(1, 1, 2, 2), torch.rand(1, 3, 4, 4)).sum()
    tensor(48.)
    """
    size = inputs.shape[2:]
    fine = functional.interpolate(cam.detach(), size, mode=_MODES[len(size)], align_corners=False)
    return fine.expand_as(inputs).contiguous()
