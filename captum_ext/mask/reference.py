"""The reference of mask methods: the image without its detail."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

__all__ = ["blurred"]


def blurred(images: Tensor, kernel_size: int = 51, sigma: float = 50.0) -> Tensor:
    """Images (N, C, H, W) blurred by a truncated Gaussian with reflected borders.

    At the defaults of the published I-GOS, 51 x 51 and sigma 50, the kernel is nearly a box.
    Images smaller than the kernel get the largest odd kernel that their reflection fills.

    Raises:
        ValueError: on inputs that are not images.

    >>> checkers = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(1, 1, 32, 32)
    >>> blurred(checkers).std() < 0.01
    tensor(True)
    """
    if images.dim() != 4:
        raise ValueError(
            f"`baselines` is needed for inputs that are not images (N, C, H, W), which can't be "
            f"blurred, but got none for inputs of shape {tuple(images.shape)}: pass what a deleted "
            "feature becomes, such as 0 or the mean."
        )
    height, width = (min(kernel_size, 2 * side - 1) for side in images.shape[-2:])
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    return gaussian_blur(wide, [width, height], [sigma, sigma]).to(images.dtype)
