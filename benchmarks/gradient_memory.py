"""What a gradient keeps of a photograph, with the model as it comes and as methods borrow it.

    python benchmarks/gradient_memory.py [--models vit_b_16 convnext_tiny resnet18] [--side 224]

MB that the graph holds between the forward and the backward pass, each storage once and the
model's own left out. Weights are random: what is kept does not depend on them.
"""

import argparse

import torch
import torchvision
from torch import nn
from torch.autograd.graph import saved_tensors_hooks


def kept(model: nn.Module, image: torch.Tensor) -> float:
    """MB that a forward pass with a graph keeps for the gradient of its input."""
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    held: dict[int, int] = {}
    alive = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
            # Memory that is freed could be counted again under the same address.
            alive.append(storage)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        model(image.clone().requires_grad_())
    return sum(held.values()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["vit_b_16", "convnext_tiny", "resnet18"])
    parser.add_argument("--side", type=int, default=224)
    settings = parser.parse_args()
    image = torch.rand(1, 3, settings.side, settings.side)
    for name in settings.models:
        model = torchvision.models.get_model(name, weights=None).eval()
        before = kept(model, image)
        print(f"{name}: {before:.0f} MB, borrowed {kept(model.requires_grad_(False), image):.0f}")


if __name__ == "__main__":
    main()
