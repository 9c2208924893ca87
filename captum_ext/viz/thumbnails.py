"""Small pictures of images and maps that are kept for the report."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from PIL import Image
from torch import Tensor
from torch.nn import functional

from captum_ext.maps import absolute_map
from captum_ext.viz.overlays import MAP_COLORS

SIDE = 112
# No picture begins so.
_SEVERAL = b"\x00several\x00"


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


def map_thumbnail(attributions: Tensor, least: float = 0.0) -> bytes | None:
    """A grey JPEG of a map (C, H, W), as `captum_ext.maps.absolute_map` shows it.

    >>> import torch
    >>> map_thumbnail(torch.rand(3, 8, 8))[:2]
    b'\\xff\\xd8'
    """
    if attributions.dim() != 3 or not attributions.isfinite().all():
        return None
    shown = absolute_map(attributions.cpu()[None], least=least)
    pixels = _small(shown).mul(255).round().byte()
    return _encoded(pixels[0].numpy(), quality=80)


def tinted(content: bytes | None) -> bytes | None:
    """A map's grey JPEG in the colors of maps; None stays none.

    >>> import torch
    >>> tinted(map_thumbnail(torch.rand(3, 8, 8)))[:2]
    b'\\xff\\xd8'
    """
    if content is None:
        return None
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as opened:
        grey = np.asarray(opened.convert("L"))
    table = (colormaps[MAP_COLORS](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    return _encoded(table[grey], quality=85)


def strung(pictures: Sequence[bytes | None]) -> bytes | None:
    """Pictures as one, which `unstrung` takes apart; one alone is as it is.

    >>> unstrung(strung([b"one", None, b"three"])), unstrung(strung([b"one"])), unstrung(None)
    ([b'one', None, b'three'], [b'one'], [None])
    """
    if len(pictures) == 1:
        return pictures[0]
    sizes = [-1 if one is None else len(one) for one in pictures]
    head = struct.pack(f"<I{len(sizes)}i", len(sizes), *sizes)
    return _SEVERAL + head + b"".join(one for one in pictures if one is not None)


def unstrung(content: bytes | None) -> list[bytes | None]:
    """The pictures of `strung`."""
    if content is None or not content.startswith(_SEVERAL):
        return [content]
    (n,) = struct.unpack_from("<I", content, len(_SEVERAL))
    at = len(_SEVERAL) + 4
    sizes = struct.unpack_from(f"<{n}i", content, at)
    at += 4 * n
    found: list[bytes | None] = []
    for size in sizes:
        found.append(None if size < 0 else content[at : at + size])
        at += max(size, 0)
    return found


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
