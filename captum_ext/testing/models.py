"""The models that checks explain: small networks, and what is put around a user's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 5


class ConvNet(nn.Module):
    """Two convolutions with ReLUs and a linear layer: logits of images.

    Modules alone, each run once, as DeepLift and LRP ask of a model.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 3, stride=2, padding=1)
        self.rectified = nn.ReLU()
        self.second = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.rectified_again = nn.ReLU()
        self.pooled = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.rectified_again(self.second(self.rectified(self.first(x))))
        return self.head(self.pooled(x).flatten(1))


class TwoLayers(nn.Module):
    """Linear, ReLU, linear, of the flattened inputs; with ``rectified`` a ReLU in the end.

    >>> TwoLayers(torch.eye(2), torch.zeros(2), torch.tensor([[1.0, -1.0]]))(torch.ones(1, 2, 1))
    tensor([[0.]], grad_fn=<AddmmBackward0>)
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        head: Tensor,
        head_bias: Tensor | None = None,
        rectified: bool = False,
    ) -> None:
        super().__init__()
        self.first = _linear(weight, bias)
        self.relu = nn.ReLU()
        self.second = _linear(head, torch.zeros(len(head)) if head_bias is None else head_bias)
        self.last = nn.ReLU() if rectified else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.relu(self.first(x.flatten(1))))
        return y if self.last is None else self.last(y)


class LinearModel(nn.Module):
    """One linear layer of the flattened inputs."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.linear = _linear(weight, torch.zeros(len(weight)))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.linear(x.flatten(1))
        return found


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight.clone(), bias.clone()
    return layer


def network(inputs: Tensor) -> nn.Module:
    """A network for images or tables, with weights large enough for clear answers.

    Raises:
        ValueError: for inputs of other shapes, which need a model of their own.
    """
    net: nn.Module
    if inputs.dim() == 4:
        net = ConvNet(inputs.shape[1])
    elif inputs.dim() == 2:
        width = inputs.shape[1]
        empty = torch.empty
        net = TwoLayers(empty(12, width), empty(12), empty(CLASSES, 12), empty(CLASSES))
    else:
        raise ValueError(
            "`model` is needed for inputs that are neither images (N, C, H, W) nor a table "
            f"(N, features), but {tuple(inputs.shape)}."
        )
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        scale = 1.8 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else 0.1
        parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    return net.to(inputs.device, inputs.dtype).eval()


class Wrapped(nn.Module):
    """A model inside, asked in another way."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.training = net.training


class OfTwo(Wrapped):
    """Of two inputs, the second of which lacks the last place."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = self.net((a + 2 * nn.functional.pad(b, (0, 1))) / 3)
        return found


class OneOutput(Wrapped):
    """One column of the output, (N,) or (N, 1)."""

    def __init__(self, net: nn.Module, column: int, kept: bool) -> None:
        super().__init__(net)
        self.column = slice(column, column + 1) if kept else column

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.net(x)[:, self.column]
        return found


class Scaled(Wrapped):
    """With a factor for each example, an offset for all, and what is no tensor."""

    def forward(self, x: Tensor, factor: Tensor, offset: Tensor, flag: str) -> Tensor:
        if flag != "on":
            raise ValueError(f"the third additional argument was 'on', but came as {flag!r}")
        found: Tensor = self.net(x) * factor[:, None] + offset
        return found


class Failing(Wrapped):
    """Counts calls, and fails at one of them when all layers have run."""

    def __init__(self, net: nn.Module, at: int = 0) -> None:
        super().__init__(net)
        self.at, self.calls = at, 0

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.net(x)
        self.calls += 1
        if self.calls == self.at:
            raise RuntimeError("out of luck")
        return found


class Counting(Wrapped):
    """Counts calls."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        found: Tensor = self.net(x)
        return found


def softmaxed(inputs: Tensor) -> nn.Module:
    """`network` with probabilities in the end."""
    return nn.Sequential(network(inputs), nn.Softmax(1)).eval()
