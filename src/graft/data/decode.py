"""Image files to pixels, as a viewer would show them.

EXIF orientation is applied; palettes, CMYK, 1-bit and 16-bit grey become 8-bit RGB; transparency
is laid over white; of an animation the first frame is taken.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM")
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class UndecodableError(Exception):
    """The bytes are no image that graft reads; the message is the reason, for the catalogue."""


@dataclass(frozen=True)
class Resizing:
    """How an image becomes a square. side: pixels. method: stretch, crop or pad. interpolation: see RESAMPLING."""

    side: int
    method: str
    interpolation: str


def open_rgb(data: bytes) -> Image.Image:
    """The whole image, decoded, upright, RGB. Raises UndecodableError."""
    if not data:
        raise UndecodableError("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise UndecodableError("not an image of a known format") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UndecodableError(f"more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except Exception as error:  # a decoder meets hostile bytes: whatever it raises is a verdict on them
        raise UndecodableError(f"cannot be decoded: {' '.join(str(error).split())}") from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit grey
        return Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def decode(data: bytes, resizing: Resizing) -> np.ndarray:
    """(side, side, 3) uint8 RGB. Shrinking is antialiased. Raises UndecodableError.

    stretch: both sides to `side`. crop: the largest centred square. pad: whole image, black bars.
    """
    image = open_rgb(data)
    size = (resizing.side, resizing.side)
    resampling = RESAMPLING[resizing.interpolation]
    if resizing.method == "crop":
        image = ImageOps.fit(image, size, resampling)
    elif resizing.method == "pad":
        image = ImageOps.pad(image, size, resampling)
    else:
        image = image.resize(size, resampling)
    return np.asarray(image)
