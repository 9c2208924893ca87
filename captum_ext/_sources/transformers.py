"""Image classifiers of Hugging Face's transformers, with the preprocessing of their processor."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn

from captum_ext._sources.hub import fetching
from captum_ext._sources.source import UNTOLD, Source, Wanted, needed, with_classes
from captum_ext._text import numbered_class, reason

_NAME = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")
_ACTIVATIONS = {
    None: "softmax",
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": None,
}


def source(model_or_folder: Any, processor: Any, wanted: Wanted) -> Source:
    """A classifier in a folder, by name, or at hand.

    Raises:
        ValueError: if it is no image classifier, was not trained to classify, or its processor
            does more than resize, crop and normalize.
        ConnectionError: if a name can't be fetched.
        ImportError: without the extra `transformers`.
    """
    transformers = needed("transformers", "transformers", "transformers")
    given = isinstance(model_or_folder, nn.Module)
    with _silent(transformers):
        model: Any = model_or_folder
        if not given:
            model = _built(transformers, os.fspath(model_or_folder), wanted)
        config: Any = getattr(model, "config", None)
        if not hasattr(config, "id2label"):
            raise ValueError(
                "`model_or_folder` is a classifier of transformers, but "
                f"{type(model).__name__} has no `config` with `id2label`: use "
                "ImageClassifier(model, mean, std)."
            )
        place = config.name_or_path if given else os.fspath(model_or_folder)
        reads = _processor(transformers, processor, place)
    pixels, order = _measured(reads, getattr(config, "num_channels", 3))
    if order != sorted(order):
        model = _Reordered(model, order)
    names = [config.id2label.get(k, numbered_class(k)) for k in range(config.num_labels)]
    activation = _ACTIVATIONS.get(config.problem_type, UNTOLD)
    if config.num_labels == 1 and config.problem_type is None:
        activation = UNTOLD
    names = [*wanted.names(config.num_labels, names)]
    return Source(model, pixels, names, activation, pixels.mean, pixels.std)


def _built(transformers: Any, place: str, wanted: Wanted) -> nn.Module:
    kind = transformers.AutoModelForImageClassification
    if wanted.weights == "DEFAULT":
        wanted.require_own()
    with _found(place):
        if wanted.weights != "DEFAULT":
            config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False)
        else:
            model, info = kind.from_pretrained(
                place, trust_remote_code=False, output_loading_info=True
            )
    if wanted.weights != "DEFAULT":

        def make(n: int | None = None) -> nn.Module:
            if n is not None and n != config.num_labels:
                config.num_labels = n
            made: nn.Module = kind.from_config(config, trust_remote_code=False)
            return made

        model = with_classes(make, lambda made: made.config.num_labels, wanted)
    elif lacking := sorted(str(name) for name in info["missing_keys"]):
        # They would be random numbers, as in every network that was trained without a head.
        raise ValueError(
            f"`model_or_folder` {place} was not trained to classify: it holds no weights for "
            f"{', '.join(lacking[:3])}."
        )
    # Weights may be stored in half precision.
    return cast(nn.Module, model.float().eval())


def _processor(transformers: Any, processor: Any, place: str) -> Any:
    if processor is not None and not isinstance(processor, str | os.PathLike):
        return processor
    place = os.fspath(processor or place)
    if not place:
        raise ValueError(
            "`processor` is needed for a model that was not loaded from a folder or by name: give "
            "its image processor, or the folder of one."
        )
    with _found(place):
        return transformers.AutoImageProcessor.from_pretrained(place, trust_remote_code=False)


@contextmanager
def _found(place: str) -> Iterator[None]:
    """A folder is read as it is; a name is fetched."""
    folder = os.path.exists(place)
    if not folder and not _NAME.fullmatch(place):
        raise ValueError(
            f"`model_or_folder` {place} is no folder that is there, nor the name of a model: NAME "
            "or OWNER/NAME."
        )
    with nullcontext() if folder else fetching(place, "give its folder"):
        try:
            yield
        except Exception as error:
            if not folder:
                raise
            raise ValueError(
                f"`model_or_folder` {place} holds no image classifier with its processor: "
                f"{reason(error)}"
            ) from error


@contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """Without the bars that count the weights."""
    logging = transformers.utils.logging
    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()


@dataclass(frozen=True)
class _Pixels:
    """A picture as an image in [0, 1]: what its processor gives, with the normalization undone.

    The network normalizes it again, and so sees what the processor gives, whatever it does.

    Args:
        processor: from a picture to ``pixel_values``, (1, C, H, W).
        mean: by channel of the image.
        std: by channel of the image.
        places: of the image's channels among the processor's.
    """

    processor: Any
    mean: list[float]
    std: list[float]
    places: list[int]

    def __call__(self, picture: Image.Image) -> Tensor:
        made = _processed(self.processor, picture)[self.places]
        mean, std = (torch.tensor(x).view(-1, 1, 1) for x in (self.mean, self.std))
        return made * std + mean


class _Reordered(nn.Module):
    """A network that takes its channels in another order, as blue, green, red."""

    def __init__(self, model: nn.Module, order: list[int]) -> None:
        super().__init__()
        self.model, self.order = model, order
        self.training = model.training

    def forward(self, images: Tensor) -> Any:
        return self.model(images[:, self.order])


def _processed(processor: Any, picture: Image.Image) -> Tensor:
    made = processor(images=picture, return_tensors="pt").get("pixel_values")
    if not isinstance(made, Tensor) or made.dim() != 4 or len(made) != 1:
        what = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise ValueError(
            "`processor` must give one image as `pixel_values` (1, C, H, W), but gave "
            f"{what}: use ImageClassifier(model, mean, std, transform=...)."
        )
    return made[0].float()


def _measured(processor: Any, n_channels: int) -> tuple[_Pixels, list[int]]:
    """What a processor does to colors, read from plain pictures, and its order of channels.

    Its settings don't tell: some scale twice, some turn the channels around, some ignore them.

    Raises:
        ValueError: if that is no mean and standard deviation by channel.
    """
    mode = {1: "L", 3: "RGB"}.get(n_channels)
    if mode is None:
        raise ValueError(f"`processor` takes pictures of 1 or 3 channels, not {n_channels}.")

    def seen(*color: int) -> Tensor:
        plain = Image.new(mode, (64, 64), color if n_channels == 3 else color[0])
        made = _processed(processor, plain).double()
        return made[:, made.shape[1] // 2, made.shape[2] // 2]

    black, white, grey = (seen(*[level] * n_channels) for level in (0, 255, 102))
    gain = white - black
    lit = torch.stack([(seen(*color) - black) / gain for color in _primaries(n_channels)])
    order = lit.argmax(0).tolist() if lit.isfinite().all() else []
    one = torch.eye(n_channels, dtype=lit.dtype)
    plain = len(black) == n_channels and sorted(order) == [*range(n_channels)]
    if (
        not plain
        or gain.min() <= 0
        or (lit - one[:, order]).abs().max() > 1e-3
        or ((grey - black) / gain - 102 / 255).abs().max() > 1e-3
    ):
        raise ValueError(
            "`processor` must resize, crop and normalize by a mean and a standard deviation per "
            f"channel, but {type(processor).__name__} does something else to colors: use "
            "ImageClassifier(model, mean, std, transform=...)."
        )
    places = [order.index(k) for k in range(n_channels)]
    # Rounded, so that they are the same on every machine.
    mean, std = ([round(float(x[k]), 6) + 0.0 for k in places] for x in (-black / gain, 1 / gain))
    return _Pixels(processor, mean, std, places), order


def _primaries(n_channels: int) -> list[list[int]]:
    return [[255 * (j == k) for j in range(n_channels)] for k in range(n_channels)]
