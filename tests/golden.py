"""The reference implementations' outputs, and the network they were made on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FOLDER = Path(__file__).parent / "goldens"


def load(name: str) -> dict[str, Tensor]:
    """All arrays of a file as tensors."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def network(arrays: dict[str, Tensor], dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The golden network's logits, in the given type."""
    w = {key[4:]: value.to(dtype) for key, value in arrays.items() if key.startswith("net_")}

    def logits(x: Tensor) -> Tensor:
        x = F.softplus(F.conv2d(x, w["c1_weight"], w["c1_bias"], stride=2, padding=1))
        x = F.softplus(F.conv2d(x, w["c2_weight"], w["c2_bias"], stride=2, padding=1))
        return F.linear(x.mean((2, 3)), w["fc_weight"], w["fc_bias"])

    return logits


def reading(arrays: dict[str, Tensor], kind: str, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Logits, or probabilities where `kind` is "prob"."""
    logits = network(arrays, dtype)
    return (lambda x: logits(x).softmax(1)) if kind == "prob" else logits


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """The largest deviation, relative to each example's largest attribution."""
    ours, theirs = ours.flatten(1).double(), theirs.flatten(1).double()
    return float(((ours - theirs).abs().amax(1) / theirs.abs().amax(1)).max())
