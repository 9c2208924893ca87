"""Small pictures of images and maps that are kept for the report."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

SIDE = 112


def thumbnail(image: Tensor) -> bytes | None:
    """A JPEG of an image (C, H, W) in [0, 1]; None for what is no such image.

    >>> import torch
    >>> thumbnail(torch.rand(3, 8, 8))[:2], thumbnail(torch.rand(7))
    (b'\\xff\\xd8', None)
    """
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        return None
    pixels = _small(image).clamp(0, 1).mul(255).round().byte().cpu()
    return _encoded(pixels.permute(1, 2, 0).squeeze(-1).numpy(), quality=85)


def map_thumbnail(
    attributions: Tensor, percentile: float = 0.99, least: float = 0.0
) -> bytes | None:
    """A grey JPEG of a map (C, H, W): the sum of absolute values, from the least to a percentile.

    Black where no value is above ``least``, so that rounding is not scaled up.

    >>> import torch
    >>> map_thumbnail(torch.rand(3, 8, 8))[:2]
    b'\\xff\\xd8'
    """
    if attributions.dim() != 3 or not attributions.isfinite().all():
        return None
    flat = attributions.float().cpu().abs().sum(0, keepdim=True)
    if not attributions.abs().max() > least:
        flat = torch.zeros_like(flat)
    flat = flat - flat.min()  # RISE's maps lie far above 0
    top = flat.flatten().quantile(percentile) if flat.numel() < 2**24 else flat.max()
    top = top if top > 0 else flat.max().clamp(min=1e-30)
    pixels = _small((flat / top).clamp(max=1)).mul(255).round().byte()
    return _encoded(pixels[0].numpy(), quality=80)


def _small(image: Tensor) -> Tensor:
    height, width = image.shape[1:]
    scale = SIDE / max(height, width)
    if scale >= 1:
        return image.float()
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return functional.interpolate(image[None].float(), size, mode="area")[0]


def _encoded(pixels: object, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)  # type: ignore[arg-type]
    return buffer.getvalue()
