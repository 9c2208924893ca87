"""The one way from a picture's file to the tensor that a model takes, for all commands."""

from __future__ import annotations

import errno
import io
import logging
import stat
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor, nn

from captum_ext._text import number_of, reason
from captum_ext.classifier import Transform
from captum_ext.cli.errors import CallError, say
from captum_ext.cli.inputs.models import channels_of, transform_of
from captum_ext.cli.output import MARK

# What Pillow logs it also raises, and the reason is said by us.
logging.getLogger("PIL").addHandler(logging.NullHandler())
# Raster formats alone: Pillow hands an EPS to Ghostscript, whatever the file is called.
FORMATS = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpeg", ".jpg"),
    "PNG": (".png",),
    "PPM": (".ppm",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
SUFFIXES = tuple(sorted(suffix for suffixes in FORMATS.values() for suffix in suffixes))
_SMALLEST_SIDE = 8
_LARGEST_FILE = 2**30
# What is wrong with one file; any other error of the system is the disk's.
_OF_THE_FILE = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR)
_DEEP = ("I", "F")
_FEWER_BITS = 14
_FRAMES = "captum_ext: several frames"
# Tags of TIFF: bits per sample, and how pixels are to be read (0: white is 0).
_BITS, _WHITE_IS_ZERO = 258, 262


class PictureError(CallError, ValueError):
    """A picture that can't be taken: ``reason`` completes "IMAGE x.png ..."."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"IMAGE {file} {reason}.")
        self.reason = reason


class Reader:
    """Pictures as a model takes them, with the model's own transform, whatever their size.

    What is taken otherwise than it stands in a file is said, once for each kind.

    Args:
        model: its transform and its number of channels decide.

    Raises:
        CallError: if the model takes neither color nor grey, or its transform draws random
            numbers, so that no tensor is a file's own.
    """

    def __init__(self, model: nn.Module) -> None:
        self.transform = transform_of(model)
        self._said: set[str] = set()
        channels = channels_of(model)
        if channels not in (1, 3):
            raise CallError(
                f"--model takes images of {number_of(channels, 'channel')}, but pictures have 3 "
                "(color) or 1 (grey)."
            )
        self.mode = "RGB" if channels == 3 else "L"
        if _is_random(self.transform, self.mode):
            raise CallError(
                "--model has a transform that draws random numbers: give it the one it is tested "
                "with, without random crops and flips."
            )

    def picture(self, file: Path | None) -> Image.Image:
        """A file as an upright picture of 8 bits in the model's mode; None is the coffee.

        Raises:
            PictureError: if it is missing, no image, damaged, of values without a known range,
                too large or too small.
            OSError: if the disk fails.
        """
        if file is None:
            return coffee().convert(self.mode)
        image = decoded(file)
        if image.info.get("Creator") == MARK or image.info.get("comment") == MARK.encode():
            raise PictureError(file, "is a figure that captum-ext drew, and no photograph")
        if min(image.size) < _SMALLEST_SIDE:
            raise PictureError(
                file,
                f"is {image.width} x {image.height} pixels, too small to explain: both sides must "
                f"have {_SMALLEST_SIDE} or more",
            )
        picture = _converted(file, image, self.mode)
        if image.info.get(_FRAMES):
            self._say(file, "has several frames: the first is taken")
        if image.mode != self.mode:
            white = ", on white" if image.has_transparency_data else ""
            self._say(file, f"is of mode {image.mode}: taken as {self.mode}{white}")
        return picture

    def _say(self, file: Path, remark: str) -> None:
        if remark not in self._said:
            self._said.add(remark)
            say(f"IMAGE {file} {remark}.")

    def tensor(self, picture: Image.Image) -> Tensor:
        """What the model sees of a picture, (C, H, W).

        Raises:
            CallError: if the model's transform fails, or gives no such tensor.
        """
        size = f"{picture.width} x {picture.height} pixels"
        try:
            made = self.transform(picture)
        except Exception as error:
            raise CallError(
                f"--model has a transform that fails on a picture of {size}: {reason(error)}"
            ) from error
        if not isinstance(made, Tensor) or made.dim() != 3 or not made.is_floating_point():
            got = f"{made.dtype} {tuple(made.shape)}" if isinstance(made, Tensor) else type(made)
            raise CallError(
                "--model needs a transform to a floating point tensor (channels, height, width), "
                f"but it gives {got}."
            )
        if not made.isfinite().all():
            raise CallError(f"--model has a transform that gives nan or inf for {size}.")
        # torchvision's subclass of a tensor would travel into every method.
        return made.as_subclass(Tensor)

    def region(self, region: Image.Image) -> Tensor:
        """The pixels of what the model sees that are inside a region, (H, W) bool.

        A pixel is inside where the transform makes it more like a white picture than a black
        one, so that normalization and inversion do not matter.

        Args:
            region: white on black, of the picture's size.

        Raises:
            CallError: if the transform makes black and white the same.
        """
        colors = (Image.new("L", region.size, color) for color in ("black", "white"))
        made, black, white = (self.tensor(p.convert(self.mode)) for p in (region, *colors))
        if torch.equal(black, white):
            raise CallError(
                "--model has a transform that makes black and white the same, so that annotated "
                "regions can't follow it."
            )
        return (made - white).abs().sum(0) < (made - black).abs().sum(0)


def decoded(file: Path, formats: Iterable[str] = tuple(FORMATS)) -> Image.Image:
    """The first, upright picture of a file; its ``info`` says whether there are more.

    The whole file is read before it is decoded, so that an error of the disk is not taken for
    one of the picture.

    Args:
        file: of one of the formats, whatever its suffix.
        formats: Pillow's names.

    Raises:
        PictureError: if it is no such picture, or it is damaged.
        OSError: if the disk fails.
    """
    content, names = _content(file), [*formats]
    with warnings.catch_warnings():
        # What Pillow finds strange in a file and takes nevertheless.
        warnings.simplefilter("ignore")
        # It warns of an image that may be a decompression bomb before it refuses one.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(content), formats=names)
            image.info[_FRAMES] = bool(getattr(image, "is_animated", False))
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
        except MemoryError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise PictureError(file, "has too many pixels: make it smaller first") from None
        except UnidentifiedImageError:
            listed = f"{', '.join(names[:-1])} or {names[-1]}"
            raise PictureError(file, f"is not an image that is read ({listed})") from None
        except Exception as error:
            raise PictureError(file, f"is damaged: {reason(error)}".rstrip(".")) from error
    return image


def _content(file: Path) -> bytes:
    try:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode):
            raise PictureError(file, "does not exist or is not a file")
        if about.st_size > _LARGEST_FILE:
            raise PictureError(file, f"is larger than {_LARGEST_FILE // 2**30} GiB")
        return file.read_bytes()
    except FileNotFoundError:
        raise PictureError(file, "does not exist or is not a file") from None
    except OSError as error:
        if error.errno in _OF_THE_FILE:
            raise PictureError(file, f"can't be read: {error.strerror}") from error
        raise


def _eight_bits(file: Path, image: Image.Image) -> Image.Image:
    """Grey of 16 bits, or of floats in [0, 1], as grey of 8 bits."""
    pixels = np.asarray(image, dtype=np.float64)
    tags = getattr(image, "tag_v2", {})
    if image.mode == "F":
        low, high = float(pixels.min()), float(pixels.max())
        if not np.isfinite(low + high):
            raise PictureError(file, "has nan or infinite pixels: write numbers in [0, 1]")
        if low < 0 or high > 1:
            raise PictureError(
                file,
                f"has floating point pixels from {low:g} to {high:g}, but they are read in "
                "[0, 1]: divide them by the largest that is possible",
            )
        top = 1.0
    elif image.mode == "I" and image.format == "TIFF":
        raise PictureError(
            file,
            "has signed or 32-bit integers, whose range is not known: save it with 8 or 16 bits",
        )
    else:
        # Pillow clips 16-bit grey to 255 instead of scaling it, and keeps 12 bits as they are.
        top = float(2 ** tags.get(_BITS, (16,))[0] - 1)
        _require_known_range(file, pixels, image.info.get("transparency"), top)
    if tags.get(_WHITE_IS_ZERO) == 0:
        pixels = top - pixels
    if image.info.get("transparency") is not None:
        pixels = np.where(pixels == image.info["transparency"], top, pixels)
    return Image.fromarray((pixels / top * 255).round().astype(np.uint8))


def _require_known_range(file: Path, pixels: Any, transparent: Any, top: float) -> None:
    """Raises PictureError for fewer bits in 16, which would be taken for a nearly black picture.

    Scanners of 10, 12 and 14 bits are stored so; where all is 0, any range gives black.
    """
    most = pixels[pixels != transparent].max(initial=0.0)
    if top == 2**16 - 1 and 0 < most < 2**_FEWER_BITS:
        raise PictureError(
            file,
            f"has 16 bits, but all its values are below {2**_FEWER_BITS}, as of a scanner of fewer "
            "bits, so that its range is not known: scale what the scanner can give to 65535, the "
            "same for all images, or save it with 8 bits",
        )


def _converted(file: Path, image: Image.Image, mode: str) -> Image.Image:
    try:
        if image.mode.startswith(_DEEP):
            image = _eight_bits(file, image)
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        return image.convert(mode)
    except (MemoryError, PictureError):
        raise
    except Exception as error:
        raise PictureError(file, f"of mode {image.mode} is damaged: {reason(error)}") from error


def _is_random(transform: Transform, mode: str) -> bool:
    """Whether a transform gives one picture different tensors."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).convert(mode)
    try:
        # A flip in half of the cases is missed once in 30,000 times.
        first, *others = (transform(picture).nan_to_num() for _ in range(16))
        return any(not torch.equal(first, other) for other in others)
    except Exception:
        # What it can't take, and why, is said of the pictures that are given.
        return False


def coffee() -> Image.Image:
    """The photograph of an espresso that scikit-image ships.

    Raises:
        CallError: if scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise CallError(
            "without IMAGE the picture is scikit-image's: pip install scikit-image, or name one."
        ) from error
    return Image.fromarray(data.coffee())
