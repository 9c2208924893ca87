"""Classifiers of torchvision, built as it builds them for the weights that are named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import nn

from captum_ext._sources.source import Source
from captum_ext._text import reason
from captum_ext._weights import State, misfit, read_state


def source(name: str, weights: str | None) -> Source:
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
    choices = models.get_model_weights(name)
    if weights is None:
        chosen = choices["DEFAULT"]
        model = _built(name, chosen, _random_state(name, chosen))
    elif weights in choices.__members__:
        chosen = choices[weights]
        model = _built(name, chosen, _fetch(chosen, name))
    elif os.path.isfile(weights):
        model, chosen = _from_file(name, choices, Path(weights))
    else:
        raise ValueError(
            f"`weights` of {name} is one of {[*choices.__members__]}, a file or "
            f"None, but got {weights!r}."
        )
    return Source(model.eval(), chosen.transforms(), chosen.meta["categories"])


class _Given:
    """Weights of torchvision whose state dict is at hand instead of to be fetched.

    A builder decides by the weights how it builds (image size, transformed input), and loads
    them at once: given these, it does the same to any state dict.
    """

    def __init__(self, weights: Any, state: State) -> None:
        self._weights, self._state = weights, state

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        # Builders check that weights are a member of their enum.
        return type(self._weights)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._weights, name)

    def get_state_dict(self, *args: Any, **kwargs: Any) -> State:
        return self._state


def _built(name: str, weights: Any, state: State) -> nn.Module:
    """The network as torchvision's own builder makes it for these weights."""
    from torchvision import models

    model: nn.Module = models.get_model(name, weights=_Given(weights, state))
    return model


def _random_state(name: str, weights: Any) -> State:
    """Random parameters of the shapes that these weights have."""
    from torchvision import models

    model = models.get_model(name, weights=None)
    size = weights.transforms().crop_size[0]
    # Where shapes depend on the size of images, the network knows its size.
    if getattr(model, "image_size", size) != size:
        model = models.get_model(name, weights=None, image_size=size)
    state: State = model.state_dict()
    return state


def _from_file(name: str, choices: Any, file: Path) -> tuple[nn.Module, Any]:
    """The network with a file's weights, and which of torchvision's weights they are like."""
    state = read_state(file)
    candidates = dict.fromkeys([choices["DEFAULT"], *choices])
    for weights in sorted(candidates, key=lambda w: Path(w.url).name != file.name):
        try:
            return _built(name, weights, state), weights
        except (RuntimeError, TypeError, AttributeError):
            continue
    lacking = misfit(
        _built(name, choices["DEFAULT"], _random_state(name, choices["DEFAULT"])), state
    )
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
