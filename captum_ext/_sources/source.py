"""`Source`: a network, and what its library's own configuration tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import nn

from captum_ext._transform import Transform

UNTOLD = "untold"
"""The activation of a network whose configuration does not tell it."""


@dataclass(frozen=True)
class Source:
    """What `ImageClassifier` is made of.

    Args:
        model: from normalized images to logits.
        transform: from a picture to an image.
        class_names: by class index, or empty.
        activation: from logits to what the network was trained to give.
        mean: one number per channel; None where ``transform`` ends with a normalization.
        std: as ``mean``.
    """

    model: nn.Module
    transform: Transform
    class_names: Sequence[str] = ()
    activation: str | None = "softmax"
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None


def needed(module: str, extra: str, what: str) -> Any:
    """A module that an extra of this package installs.

    Raises:
        ImportError: where it is missing; it names the extra.

    >>> needed("captum_ext.nonesuch", "demo", "A network")
    Traceback (most recent call last):
    ...
    ImportError: A network is in the extra `demo`: pip install 'captum_ext[demo]'
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{what} is in the extra `{extra}`: pip install 'captum_ext[{extra}]'"
        ) from error
