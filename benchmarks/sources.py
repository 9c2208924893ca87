"""Where classifiers come from, one of each kind, small and untrained: rows of `source_table.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

SIDE = 64
LIGHTNING = "Lightning checkpoint"
"""The source whose weights come by `--weights FILE`."""
RANDOM = ("--weights", "random")
FACTORIES = """
import torch
from captum_ext import ImageClassifier
from sources import SIDE, network

def wrapped(model):
    return ImageClassifier(model, [0.5] * 3, [0.25] * 3)

def module():
    return wrapped(network())

def exported():
    images = torch.rand(2, 3, SIDE, SIDE)
    shapes = ({0: torch.export.Dim("batch", min=1, max=512)},)
    return wrapped(torch.export.export(network(), (images,), dynamic_shapes=shapes).module())

def traced():
    return wrapped(torch.jit.trace(network(), torch.rand(2, 3, SIDE, SIDE)))
"""
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE}
SQUARE = {"size": {"height": SIDE, "width": SIDE}}
EDGE = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
HUGGING: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "ViT": ({**VIT, "intermediate_size": 16}, "ViT", SQUARE),
    "Swin": (
        {"image_size": SIDE, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2],
         "window_size": 4},
        "ViT",
        SQUARE,
    ),
    "ConvNext": ({"hidden_sizes": [8] * 4, "depths": [1] * 4}, "ConvNext",
                 {"size": {"shortest_edge": SIDE}, "crop_pct": 1.0}),
    "Dinov2": ({**VIT, "patch_size": 16, "mlp_ratio": 1}, "Bit", EDGE),
    "MobileNetV2": ({"depth_multiplier": 0.25}, "MobileNetV2", EDGE),
}  # fmt: skip
TIMM: dict[str, dict[str, Any]] = {
    "resnet18": {"layers": [1] * 4, "channels": [8, 8, 16, 16]},
    "vit_tiny_patch16_224": {"img_size": SIDE, "embed_dim": 24, "depth": 2, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {
        "img_size": SIDE, "embed_dim": 8, "depths": [1] * 4, "num_heads": [1, 1, 2, 2],
        "window_size": 4,
    },
    "convnext_atto": {"dims": [8, 8, 16, 16], "depths": [1] * 4},
}  # fmt: skip


def network() -> nn.Module:
    """A small network of one's own."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()


def hugging(family: str, folder: Path) -> list[str]:
    """The words for a folder that `save_pretrained` wrote."""
    import transformers

    settings, reads, how = HUGGING[family]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**settings, num_labels=5)
    net = getattr(transformers, f"{family}ForImageClassification")(config)
    net.save_pretrained(folder)
    getattr(transformers, f"{reads}ImageProcessor")(**how).save_pretrained(folder)
    return ["--model", f"hf:{folder}"]


def of_timm(name: str, folder: Path) -> list[str]:
    """The words for a folder of timm: an architecture at a small size."""
    import timm

    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=5, **TIMM[name])
    config = {"input_size": [3, SIDE, SIDE], "mean": [0.5] * 3, "std": [0.25] * 3,
              "num_classes": 5, "crop_pct": 1.0}  # fmt: skip
    about = {"architecture": name, "num_classes": 5, "model_args": TIMM[name]}
    (folder / "config.json").write_text(json.dumps({**about, "pretrained_cfg": config}))
    torch.save(net.state_dict(), folder / "pytorch_model.bin")
    return ["--model", f"timm:{folder}"]


def lightning(folder: Path) -> list[str]:
    """The words for a checkpoint as Lightning writes it, of five classes."""
    from torchvision import models

    torch.manual_seed(0)
    state = models.mobilenet_v3_small(num_classes=5).state_dict()
    held = {"epoch": 1, "state_dict": {f"net.{name}": tensor for name, tensor in state.items()}}
    torch.save(held, folder / "best.ckpt")
    return ["--model", "torchvision:mobilenet_v3_small", "--weights", str(folder / "best.ckpt")]


def factory(name: str, folder: Path) -> list[str]:
    """The words for a function of a file."""
    (folder / "mine.py").write_text(FACTORIES)
    return ["--model", f"{folder / 'mine.py'}:{name}"]


def _fixed(*words: str) -> Callable[[Path], list[str]]:
    return lambda folder: [*words]


def _of(make: Callable[[str, Path], list[str]], name: str) -> Callable[[Path], list[str]]:
    return lambda folder: make(name, folder)


SOURCES: dict[str, Callable[[Path], list[str]]] = {
    "`file.py:factory`": _of(factory, "module"),
    "`file.py:factory`, exported program": _of(factory, "exported"),
    "`file.py:factory`, traced": _of(factory, "traced"),
    **{f"`hf:FOLDER`, {family}": _of(hugging, family) for family in HUGGING},
    **{f"`timm:FOLDER`, {name}": _of(of_timm, name) for name in TIMM},
    "`timm:test_vit`": _fixed("--model", "timm:test_vit", *RANDOM),
    f"`torchvision:mobilenet_v3_small`, {LIGHTNING}": lightning,
    "`torchvision:mobilenet_v3_small`": _fixed(
        "--model", "torchvision:mobilenet_v3_small", *RANDOM
    ),
    "`torchvision:resnet18`": _fixed("--model", "torchvision:resnet18", *RANDOM),
    "`lite0`": _fixed("--model", "lite0", *RANDOM),
}
"""From a folder to write in to the words of the command, the quick ones first."""
