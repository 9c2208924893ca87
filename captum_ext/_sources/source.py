"""`Source`: a network, and what its library's own configuration tells of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from captum_ext._text import number_of
from captum_ext._transform import Transform
from captum_ext._weights import load_weights, matched, n_classes_in, read_state

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


@dataclass(frozen=True)
class Wanted:
    """What is asked of a source.

    Args:
        weights: "DEFAULT" for the source's own, a name or a file of others, None for random ones.
        num_classes: None for as many as the weights have.
        class_names: instead of the source's own.
    """

    weights: str | None = "DEFAULT"
    num_classes: int | None = None
    class_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.num_classes is not None and self.num_classes < 1:
            raise ValueError(f"`num_classes` is at least 1, but got {self.num_classes}.")

    def require_own(self) -> None:
        """Raises ValueError where trained weights of the source should have other classes."""
        if self.num_classes is not None:
            raise ValueError(
                "`num_classes` is for `weights` of a file, or None: trained weights have their own."
            )

    def names(self, n: int, own: Sequence[str]) -> Sequence[str]:
        """The names of ``n`` classes: those that are given, or a source's where they are as many.

        Raises:
            ValueError: if other classes are named.
        """
        given = len(self.class_names)
        # Two names make one logit two classes.
        if given and given != n and (given, n) != (2, 1):
            has = number_of(n, "class", "classes")
            raise ValueError(f"`class_names` are {given}, but the model has {has}.")
        return self.class_names or (own if len(own) == n else ())


def with_classes(
    make: Callable[..., nn.Module], count: Callable[[Any], int], wanted: Wanted
) -> nn.Module:
    """A network with the weights of a file, or random ones, and as many classes as are wanted.

    Args:
        make: makes the network for a number of classes, or its own number.
        count: that own number, of the network so made.
        wanted: its weights are a file, or None.
    """
    if wanted.weights is None:
        return make(wanted.num_classes)
    file = Path(wanted.weights)
    model, n = make(wanted.num_classes), wanted.num_classes
    if n is None:
        shapes, own = model.state_dict(), count(model)
        n = n_classes_in(matched(read_state(file), shapes), shapes, own)
        model = model if n == own else make(n)
    load_weights(model, file)
    return model


def needed(module: str, extra: str, what: str) -> Any:
    """A module that an extra of this package installs.

    Raises:
        ImportError: where it is missing; it names the extra.

    >>> needed("captum_ext.nonesuch", "demo", "A network")
    Traceback (most recent call last):
    ...
    ImportError: A network is in the extra `demo`: pip install '.[demo]' in the project's folder
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{what} is in the extra `{extra}`: pip install '.[{extra}]' in the project's folder"
        ) from error
