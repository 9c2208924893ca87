"""Reading an image file as a person would expect it to look."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from captum_ext.cli.errors import CallError

_SMALLEST_SIDE = 8


def read_image(file: Path, channels: int = 3, announce: bool = True) -> Image.Image:
    """An upright RGB (or, for one channel, grey) image of 8 bits; may announce a conversion.

    Raises:
        CallError: if the file is missing, no image, damaged, huge, or too small to explain.
    """
    if not file.is_file():
        raise CallError(f"IMAGE {file} does not exist or is not a file.")
    try:
        with warnings.catch_warnings():
            # Pillow warns of an image that may be a decompression bomb before it refuses one.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                opened.load()
                image = ImageOps.exif_transpose(opened)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise CallError(f"IMAGE {file} has too many pixels: make it smaller first.") from None
    except UnidentifiedImageError:
        raise CallError(f"IMAGE {file} is not an image that Pillow can read.") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise CallError(f"IMAGE {file} is damaged: {error}.") from error
    if min(image.size) < _SMALLEST_SIDE:
        raise CallError(
            f"IMAGE {file} is {image.width} x {image.height} pixels, too small to explain: "
            f"both sides must have {_SMALLEST_SIDE} or more."
        )
    mode = "RGB" if channels == 3 else "L"
    if announce and image.mode != mode:
        print(
            f"captum-ext: IMAGE {file} is of mode {image.mode}: taken as {mode}.", file=sys.stderr
        )
    return _convert(image, mode)


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image
    if image.mode.startswith(("I", "F")):
        # Pillow clips 16-bit grey to 255 instead of scaling it.
        pixels = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(float(pixels.max()), 1e-12)
        image = Image.fromarray((pixels / top * 255).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert(mode)


def coffee(channels: int = 3) -> Image.Image:
    """The photograph of an espresso that scikit-image ships.

    Raises:
        CallError: if scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise CallError("without IMAGE the extra `demo` is needed: captum_ext[demo].") from error
    return Image.fromarray(data.coffee()).convert("RGB" if channels == 3 else "L")
