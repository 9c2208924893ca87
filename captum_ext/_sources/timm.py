"""Networks of timm, with the preprocessing of their ``pretrained_cfg``."""

from __future__ import annotations

import os
from contextlib import nullcontext
from difflib import get_close_matches
from typing import Any, cast

from torch import nn

from captum_ext._sources.hub import fetching
from captum_ext._sources.source import Source, Wanted, needed, with_classes
from captum_ext._text import number_of

_PREFIXES = ("hf-hub:", "hf_hub:", "local-dir:")


def source(name_or_model: str | os.PathLike[str] | nn.Module, wanted: Wanted) -> Source:
    """A network by name, in a folder, or at hand.

    Raises:
        ValueError: if timm has no such network, or it has no classifier or configuration.
        ConnectionError: if its weights can't be fetched.
        ImportError: without the extra `timm`.
    """
    timm = needed("timm", "timm", "timm")
    model: Any = name_or_model
    if not isinstance(name_or_model, nn.Module):
        model = _built(timm, os.fspath(name_or_model), wanted)
    config = getattr(model, "pretrained_cfg", None)
    if not config:
        raise ValueError(
            f"`name_or_model` is a network of timm, but {type(model).__name__} has no "
            "`pretrained_cfg`: use ImageClassifier(model, mean, std)."
        )
    if not model.num_classes:
        raise ValueError(
            f"`name_or_model` must classify, but {config.get('architecture', 'this network')} "
            "gives features alone: it was made with num_classes=0."
        )
    data = timm.data.resolve_data_config(model=model)
    _require_channels(model, config, data)
    names = wanted.names(model.num_classes, _names(timm, model, config))
    return Source(model, timm.data.create_transform(**data), names)


def _built(timm: Any, name: str, wanted: Wanted) -> nn.Module:
    weights = wanted.weights
    if os.path.isdir(name):
        if not os.path.isfile(os.path.join(name, "config.json")):
            raise ValueError(
                f"`name_or_model` {name} holds no network of timm: it has no config.json, as "
                "timm.models.save_for_hf writes it beside the weights."
            )
        name = f"local-dir:{name}"
    elif not name.startswith(_PREFIXES):
        _require_known(timm, name)
    trained = weights == "DEFAULT"
    if not trained and weights is not None and not os.path.isfile(weights):
        raise ValueError(
            f'`weights` of {name} is "DEFAULT" for those of its name, a file or None, but got '
            f"{weights!r}."
        )
    remote = not name.startswith("local-dir:") and (trained or name.startswith(_PREFIXES))

    def make(n: int | None = None) -> Any:
        instead = "give the file as `weights`, or its folder as `name_or_model`"
        with fetching(name, instead) if remote else nullcontext():
            return timm.create_model(name, pretrained=trained, num_classes=n)

    if trained:
        wanted.require_own()
        return cast(nn.Module, make().eval())
    return with_classes(make, lambda model: model.num_classes, wanted).eval()


def _require_known(timm: Any, name: str) -> None:
    if timm.is_model(name):
        architecture, _, tag = name.partition(".")
        tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{architecture}.*")]
        if tag and tag not in tags:
            raise ValueError(f"`name_or_model` {name!r} has no weights {tag!r}, but {tags}.")
        return
    near = get_close_matches(name.partition(".")[0], timm.list_models())
    raise ValueError(
        "`name_or_model` is a name that timm.list_models() lists, a folder that is there, or a "
        f"network, but got {name!r}{f': perhaps {near[0]}' if near else ''}."
    )


def _require_channels(model: Any, config: Any, data: dict[str, Any]) -> None:
    """A network of other channels than its configuration's would be normalized wrongly."""
    first = config.get("first_conv")
    for name in (first,) if isinstance(first, str) else first or ():
        layer = dict(model.named_modules()).get(name)
        channels = getattr(layer, "in_channels", len(data["mean"]))
        if channels != len(data["mean"]):
            raise ValueError(
                f"`name_or_model` takes images of {number_of(channels, 'channel')}, but its "
                f"configuration normalizes {len(data['mean'])}: use "
                "ImageClassifier(model, mean, std)."
            )


def _names(timm: Any, model: Any, config: Any) -> list[str]:
    """The classes as the configuration tells them, or as timm knows those of ImageNet."""
    labels = config.get("label_names")
    told = config.get("label_descriptions") or {}
    if labels:
        names = [told.get(label, label) for label in labels]
    elif model.num_classes == config.get("num_classes"):
        subset = timm.data.infer_imagenet_subset(model)
        names = timm.data.ImageNetInfo(subset).label_descriptions() if subset else []
    else:
        names = []
    return names if len(names) == model.num_classes else []
