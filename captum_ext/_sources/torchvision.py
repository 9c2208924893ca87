"""Classifiers of torchvision, built as it builds them for the weights that are named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import nn

from captum_ext._sources.source import Source, Wanted
from captum_ext._text import reason
from captum_ext._weights import State, matched, misfit, n_classes_in, read_state


def source(name: str, wanted: Wanted) -> Source:
    """A classifier by its name and the name of its weights, a file, or None.

    Raises:
        ValueError: if torchvision has no such model or weights, or the file does not fit.
        ConnectionError: if the weights can't be fetched; it names the file.
    """
    from torchvision import models

    if name not in models.list_models(module=models):
        if name in models.list_models():
            raise ValueError(f"`name` must be an image classifier, but {name} is none.")
        raise ValueError(
            "`name` is a model that torchvision.models.list_models(torchvision.models) lists, "
            f"but got {name!r}."
        )
    choices, weights = models.get_model_weights(name), wanted.weights
    chosen = choices["DEFAULT" if weights not in choices.__members__ else weights]
    own = chosen.meta["categories"]
    n = wanted.num_classes or len(own)
    if weights is None:
        model = _built(name, chosen, _random_state(name, chosen, n), n)
    elif weights in choices.__members__:
        wanted.require_own()
        model = _built(name, chosen, _fetch(chosen, name), n)
    elif os.path.isfile(weights):
        model, chosen, n = _from_file(name, choices, Path(weights), wanted.num_classes)
    else:
        raise ValueError(
            f"`weights` of {name} is one of {[*choices.__members__]}, a file or "
            f"None, but got {weights!r}."
        )
    return Source(model.eval(), chosen.transforms(), wanted.names(n, own))


class _Given:
    """Weights of torchvision whose state dict is at hand instead of to be fetched.

    A builder decides by the weights how it builds (image size, transformed input), and loads
    them at once: given these, it does the same to any state dict.
    """

    def __init__(self, weights: Any, state: State, n_classes: int) -> None:
        self._weights, self._state = weights, state
        self.meta = {**weights.meta, "categories": [""] * n_classes}

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        # Builders check that weights are a member of their enum.
        return type(self._weights)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._weights, name)

    def get_state_dict(self, *args: Any, **kwargs: Any) -> State:
        return self._state


def _built(name: str, weights: Any, state: State, n_classes: int) -> nn.Module:
    """The network as torchvision's own builder makes it for these weights."""
    from torchvision import models

    model: nn.Module = models.get_model(name, weights=_Given(weights, state, n_classes))
    return model


def _random_state(name: str, weights: Any, n_classes: int) -> State:
    """Random parameters of the shapes that these weights have."""
    from torchvision import models

    model = models.get_model(name, weights=None, num_classes=n_classes)
    size = weights.transforms().crop_size[0]
    # Where shapes depend on the size of images, the network knows its size.
    if getattr(model, "image_size", size) != size:
        model = models.get_model(name, weights=None, image_size=size, num_classes=n_classes)
    state: State = model.state_dict()
    return state


def _from_file(
    name: str, choices: Any, file: Path, n_classes: int | None
) -> tuple[nn.Module, Any, int]:
    """The network with a file's weights, which weights they are like, and of how many classes."""
    default = choices["DEFAULT"]
    own = len(default.meta["categories"])
    shapes = _random_state(name, default, n_classes or own)
    state = matched(read_state(file), shapes)
    n = n_classes or n_classes_in(state, shapes, own)
    candidates = dict.fromkeys([default, *choices])
    for weights in sorted(candidates, key=lambda w: Path(w.url).name != file.name):
        try:
            return _built(name, weights, state, n), weights, n
        except (RuntimeError, TypeError, AttributeError):
            continue
    lacking = misfit(_built(name, default, _random_state(name, default, n), n), state)
    raise ValueError(f"`weights` must fit {name}, but {file} does not: {lacking}.")


def _fetch(weights: Any, name: str) -> Any:
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except Exception as error:
        raise ConnectionError(
            f"The weights of {name} could not be fetched from {weights.url} ({reason(error)}). "
            "Download that file on a machine that can and pass its path as `weights`, or pass "
            "`weights=None` for random weights."
        ) from error
