"""The information that a frame holds, as the size of its compressed file."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np
import torch
from PIL import Image, __version__ as pillow_version, features
from torch import Tensor

from captum_ext._typing import Tensors

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class _Known:
    """The sizes found last, by what decides them; a few hundred KB, and no image.

    All maps of an image share the frames that show nothing and all, maps that rank alike share
    every frame, and metrics of one map too.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, Lock()
        self._sizes: OrderedDict[Any, int] = OrderedDict()

    def get(self, key: Any) -> int | None:
        with self._lock:
            if key in self._sizes:
                self._sizes.move_to_end(key)
            return self._sizes.get(key)

    def add(self, key: Any, size: int) -> None:
        with self._lock:
            self._sizes[key] = size
            while len(self._sizes) > self._most:
                self._sizes.popitem(last=False)


_KNOWN = _Known(most=4096)


@dataclass(frozen=True)
class Codec:
    """A lossless image codec and its effort; the same image is coded once.

    Args:
        format: a format that Pillow writes without loss.
        options: of Pillow's ``Image.save``, as pairs.

    >>> import numpy as np
    >>> WEBP.size(np.zeros((64, 64, 3), np.uint8)) < 100
    True
    """

    format: str
    options: tuple[tuple[str, Any], ...] = ()

    def size(self, image: Bytes) -> int:
        """Bytes of the compressed image, (H, W, 1 or 3) of uint8."""
        pixels = np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image)
        digest = blake2b(pixels.tobytes(), digest_size=16).digest()
        # Options may hold what can't be hashed.
        key = (self.format, repr(self.options), pixels.shape, digest)
        size = _KNOWN.get(key)
        if size is None:
            size = self._coded(pixels)
            _KNOWN.add(key, size)
        return size

    def _coded(self, pixels: Bytes) -> int:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, self.format, **dict(self.options))
        return buffer.tell()

    @property
    def version(self) -> str:
        """What the sizes depend on: format, options, Pillow and its library."""
        library = {"webp": "webp", "png": "zlib"}.get(self.format)
        found = features.version(library) if library else None
        options = ", ".join(f"{name}={value}" for name, value in self.options)
        return f"{self.format} ({options}), Pillow {pillow_version}, lib{library} {found}"


# PAIR's code saves with quality 100, the highest effort of lossless WebP: three to four times
# the time for sizes that differ by a percent, which after rescaling per image moves areas by .02.
WEBP = Codec("webp", (("lossless", True), ("quality", 0)))
WEBP_FULL = Codec("webp", (("lossless", True), ("quality", 100)))
PNG = Codec("png")


def to_bytes(images: Tensor) -> Bytes:
    """Images in [0, 1], (M, C, H, W), as (M, H, W, C) of uint8."""
    levels = (images.detach().float() * 255).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def from_bytes(levels: Bytes, like: Tensor) -> Tensor:
    """Images in [0, 1], (M, C, H, W), of the type and device of ``like``."""
    images = torch.from_numpy(levels).permute(0, 3, 1, 2).to(like.device)
    return (images.to(torch.promote_types(like.dtype, torch.float32)) / 255).to(like.dtype)


def in_8_bits(images: Tensor) -> Tensor:
    """Images in [0, 1] at the values that a file of 8 bits holds."""
    levels = (images.detach().float() * 255).round().clamp(0, 255).to(torch.uint8)
    return (levels.to(torch.promote_types(images.dtype, torch.float32)) / 255).to(images.dtype)


class Sizes:
    """Sizes that a pool of threads still works on."""

    def __init__(self, futures: list[Future[int]]) -> None:
        self.futures = futures

    def result(self) -> Tensor:
        """Waits; bytes per frame, (M,)."""
        return torch.tensor([float(f.result()) for f in self.futures], dtype=torch.float64)


class CompressedSize:
    """Reads the compressed size of frames in threads, beside the model.

    A context manager: on leaving it, what has not begun is dropped.

    >>> with CompressedSize(PNG) as reading:
    ...     reading((torch.zeros(2, 3, 8, 8),), torch.tensor([0, 1])).result().shape
    torch.Size([2])
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    def __enter__(self) -> CompressedSize:
        self.pool = ThreadPoolExecutor(os.cpu_count())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.pool.shutdown(cancel_futures=True)

    def __call__(self, points: Tensors, rows: Tensor) -> Sizes:
        return Sizes([self.pool.submit(self.codec.size, image) for image in to_bytes(points[0])])
