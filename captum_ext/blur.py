"""`GaussianBlur`: a reference image that hides detail."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_ext._tensors import without_autocast


@dataclass(frozen=True)
class GaussianBlur:
    """The image under a Gaussian kernel, borders reflected: what a blurred reference shows.

    ``GaussianBlur(51, 50.0)`` is the reference of the published mask methods (Qi, Khorram and
    Li, AAAI 2020), ``GaussianBlur(11, 5.0)`` the one of RISE (Petsiuk, Das and Saenko, BMVC
    2018). On an image too small to reflect half the kernel, the kernel shrinks to what fits.

    Args:
        kernel_size: odd number of pixels.
        sigma: in pixels, above 0.

    >>> import torch
    >>> GaussianBlur(3, 1.0)(torch.tensor([[[[0.0, 1.0, 0.0]]]]))
    tensor([[[[0.5481, 0.4519, 0.5481]]]])
    """

    kernel_size: int
    sigma: float

    def __post_init__(self) -> None:
        if self.kernel_size < 1 or self.kernel_size % 2 == 0 or not self.sigma > 0:
            raise ValueError(
                "`kernel_size` is an odd number of pixels and `sigma` is above 0, but got "
                f"{self.kernel_size} and {self.sigma}."
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Blurred images, (N, C, H, W)."""
        if images.dim() != 4:
            raise ValueError(
                "A blurred reference needs images of shape (N, C, height, width), but got "
                f"{tuple(images.shape)}: pass `baselines` for other data."
            )
        height, width = (min(self.kernel_size, 2 * side - 1) for side in images.shape[2:])
        # One axis after the other costs 51 + 51 products per pixel instead of 51 * 51.
        blurred = _gaussian(_wide(images), 1, height, self.sigma)
        return _gaussian(blurred, width, 1, self.sigma).to(images.dtype)


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
    return _gaussian(_wide(images), width, height, sigma).to(images.dtype)


def _wide(images: Tensor) -> Tensor:
    return images.to(torch.promote_types(images.dtype, torch.float32))


def _gaussian(images: Tensor, width: int, height: int, sigma: float) -> Tensor:
    # torchvision takes as long to import as torch: not before there is something to blur.
    from torchvision.transforms.functional import gaussian_blur

    with without_autocast(images.device):
        blurred: Tensor = gaussian_blur(images, [width, height], [sigma, sigma])
    return blurred
