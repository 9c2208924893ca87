"""Pictures of many kinds, as cameras, scanners and programs write them."""

import io
import struct

import numpy as np
from PIL import Image


def pixels(seed=0, width=30, height=26):
    """Colored, smooth, and unlike its own turns and mirrors."""
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(seed)
    planes = [(a * x / width + b * y / height) for a, b in rng.uniform(0.1, 0.5, (3, 2))]
    return (np.stack(planes, -1) * 255).round().astype(np.uint8)


def rgb(seed=0, **size):
    return Image.fromarray(pixels(seed, **size))


def grey(seed=0):
    return np.linspace(0, 1, 30 * 26).reshape(26, 30) ** (1 + seed)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation, kind="PNG"):
    """A picture that is upright once its orientation is heeded."""
    image, inverse = rgb(), {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    if orientation in inverse:
        image = image.transpose(Image.Transpose(inverse[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, kind, exif=exif.tobytes())


def with_alpha(mode):
    image = rgb(1).convert(mode)
    image.putalpha(Image.fromarray((grey() * 255).astype(np.uint8)))
    return image


def twelve_bits(values):
    """A TIFF of grey numbers of 12 bits, two of them in three bytes."""
    height, width = values.shape
    pairs = values.reshape(-1, 2)
    packed = b"".join(
        bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs.tolist()
    )  # fmt: skip
    entries = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1),
               (278, height), (279, len(packed))]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory + bytes(4)


DEEP = (grey() * 65535).round().astype(np.uint16)
KINDS = {
    "rgb.jpg": saved(rgb(), "JPEG"),
    "grey.jpg": saved(rgb().convert("L"), "JPEG"),
    "cmyk.jpg": saved(rgb().convert("CMYK"), "JPEG"),
    "progressive.jpg": saved(rgb(), "JPEG", progressive=True),
    "two.jpg": saved(rgb(), "MPO", save_all=True, append_images=[rgb(1)]),
    **{f"turned{k}.jpg": turned(k, "JPEG") for k in range(1, 9)},
    **{f"turned{k}.png": turned(k) for k in range(1, 9)},
    "rgb.png": saved(rgb(), "PNG"),
    "rgba.png": saved(with_alpha("RGB"), "PNG"),
    "la.png": saved(with_alpha("L"), "PNG"),
    "l.png": saved(rgb().convert("L"), "PNG"),
    "bilevel.png": saved(rgb().convert("1"), "PNG"),
    "palette.png": saved(rgb().quantize(16), "PNG"),
    "transparent.png": saved(rgb().quantize(16), "PNG", transparency=3),
    "deep.png": saved(Image.fromarray(DEEP), "PNG"),
    "rgb.tif": saved(rgb(), "TIFF"),
    "deep.tif": saved(Image.fromarray(DEEP), "TIFF"),
    "twelve.tif": twelve_bits(DEEP >> 4),
    "float.tif": saved(Image.fromarray(grey().astype(np.float32)), "TIFF"),
    "rgb.bmp": saved(rgb(), "BMP"),
    "rgb.gif": saved(rgb(), "GIF"),
    "moving.gif": saved(rgb(), "GIF", save_all=True, append_images=[rgb(1), rgb(2)]),
    "moving.png": saved(rgb(), "PNG", save_all=True, append_images=[rgb(1)]),
    "rgb.webp": saved(rgb(), "WEBP"),
    "moving.webp": saved(with_alpha("RGB"), "WEBP", save_all=True, append_images=[rgb(1)]),
    "rgb.ppm": saved(rgb(), "PPM"),
    "own_size.png": saved(rgb(width=24, height=24), "PNG"),
    "odd_size.png": saved(rgb(width=31, height=57), "PNG"),
    "wide.png": saved(rgb(width=300, height=8), "PNG"),
    "named_wrongly.png": saved(rgb(), "JPEG"),
}
