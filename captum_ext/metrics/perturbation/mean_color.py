"""What a normalization turns into 0, as RISE's code deletes to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_ext._typing import Forward
from captum_ext.classifier import classifier_told


@dataclass(frozen=True)
class MeanColor:
    """Images of one color, a value for each channel.

    >>> MeanColor((0.5, 0.25))(torch.rand(3, 2, 1, 1))[0].flatten()
    tensor([0.5000, 0.2500])
    """

    channels: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        color = torch.tensor(self.channels, dtype=images.dtype, device=images.device)
        return color.view(1, -1, 1, 1).expand_as(images)


class NormalizedZero:
    """Zero of the images that a network sees: the color that its normalization subtracts.

    Of an `ImageClassifier` it is its mean, of every other model 0 of the inputs, which are taken
    for normalized ones.

    >>> from captum_ext import ImageClassifier
    >>> model = ImageClassifier(torch.nn.Flatten(), mean=[0.5], std=[0.25])
    >>> NormalizedZero().of(model), NormalizedZero().of(torch.nn.Flatten())
    (MeanColor(channels=(0.5,)), 0.0)
    """

    def of(self, forward_func: Forward) -> MeanColor | float:
        """The reference for a model.

        Raises:
            ValueError: if an `ImageClassifier` stands inside the model.
        """
        classifier = classifier_told(
            forward_func, "`reference`, as RISE deletes to zero of normalized images"
        )
        if classifier is None:
            return 0.0
        return MeanColor(tuple(round(float(m), 6) for m in classifier.mean.flatten()))
