"""What the benchmarks share: annotated photographs, maps, and the memory that a process took."""

from __future__ import annotations

import json
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from captum.attr import Attribution
from PIL import Image
from skimage import data
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from captum_ext import ImageClassifier
from captum_ext.attr import PathAttribution, walk


def photographs(folder: Path | None) -> list[tuple[str, Tensor, int | None]]:
    """Names, images (1, 3, 224, 224) in [0, 1] and classes.

    A folder holds crops of 224 x 224 and an annotations.json whose "images" name "file" and
    "expected_class". Without one: scikit-image's photographs, with the model's own classes.
    """
    if folder is None:
        crop = ImageClassifier.from_efficientnet_lite0().transform
        pictures = {"coffee": data.coffee(), "chelsea": data.chelsea()}
        return [(k, crop(Image.fromarray(v))[None], None) for k, v in pictures.items()]
    records = json.loads((folder / "annotations.json").read_text())["images"]
    files = [(folder / record["file"], record["expected_class"]) for record in records]
    return [(f.name, to_tensor(Image.open(f).convert("RGB"))[None], label) for f, label in files]


def correct(model: ImageClassifier, image: Tensor, label: int | None) -> int | None:
    """The class to explain: the label if the model agrees with it, else None."""
    with torch.no_grad():
        top = int(model(image).argmax())
    return top if label in (None, top) else None


def maps_of(
    methods: Mapping[str, Attribution], image: Tensor, target: int, **options: Any
) -> dict[str, Tensor]:
    """Maps by name; this package's path methods, which take the options, share their walks.

    Each is bit for bit the map of the method alone. Options of others are their own.
    """
    paths = {name: m for name, m in methods.items() if isinstance(m, PathAttribution)}
    walked = walk([*paths.values()], image, target=target, **options) if paths else []
    found = dict(zip(paths, walked, strict=True))
    others = methods.keys() - paths.keys()
    found |= {name: methods[name].attribute(image, target=target) for name in others}
    return {name: found[name].detach() for name in methods}


def peak_memory() -> float:
    """The most resident memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # What `getrusage` says is handed on by the process that started this one.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
