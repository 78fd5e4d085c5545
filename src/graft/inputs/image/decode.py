"""Image files to pixels, as a viewer would show them.

EXIF orientation is applied; palettes, CMYK, 1-bit and 16-bit grey become 8-bit RGB; transparency
is laid over white; of an animation the first frame is taken, of several pages the first one.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import simplejpeg
from PIL import AvifImagePlugin, Image, ImageOps, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from graft.inputs.image.formats import ALSO, FORMATS, starts_like_one
from graft.inputs.spec import UndecodableError

OPENED = (*FORMATS, "DIB")
"""Pillow opens an MPO as a JPEG."""

Image.MAX_IMAGE_PIXELS = None  # the limit is data.max_pixels, checked before anything is decoded
PngImagePlugin.MAX_TEXT_CHUNK = 2**26  # a picture is no worse for a long comment
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # many images are decoded at once
logging.getLogger(TiffImagePlugin.__name__).disabled = True  # what is wrong with a file is said once
EXIF_ORIENTATION = 0x0112
TIFF_PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
TIFF_BITS = 258
JPEG_START = b"\xff\xd8\xff"
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the stored picture upright."""


@dataclass(frozen=True)
class Resizing:
    """How an image becomes a square. side: pixels. method: stretch, crop or pad. interpolation: see RESAMPLING."""

    side: int
    method: str
    interpolation: str


@contextmanager
def only_undecodable() -> Iterator[None]:
    """Whatever a decoder raises inside becomes UndecodableError: it has met hostile bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UndecodableError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise UndecodableError("truncated" if "truncated" in detail.lower() else "corrupt", detail) from None


def open_lazily(data: bytes) -> Image.Image:
    """Format, mode and size of an image; nothing is decoded yet. To be called within `only_undecodable`."""
    if not data:
        raise UndecodableError("empty file", "0 bytes")
    try:
        image = Image.open(io.BytesIO(data), formats=OPENED)
    except UnidentifiedImageError:
        if FORMATS["TIFF"].start.match(data):
            raise _against_tiff(data) from None
        if starts_like_one(data):
            raise UndecodableError("corrupt", "its header cannot be read") from None
        raise UndecodableError("not an image", "of no format that is read") from None
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise UndecodableError(
            "unsupported", "values of 32 bits, whose black and white are not known; convert to 8 bits"
        )
    return image


def name_of(image: Image.Image) -> str:
    """The format of an image that was opened, a key of FORMATS."""
    return ALSO.get(str(image.format), str(image.format))


def _against_tiff(data: bytes) -> UndecodableError:
    """Why Pillow does not open it: TIFF has more kinds of pixels and compressions than are read."""
    try:
        TiffImagePlugin.TiffImageFile(io.BytesIO(data))
    except SyntaxError as error:
        cause = error.args[0] if error.args else ""
        if isinstance(cause, KeyError):
            return UndecodableError("unsupported", f"a TIFF of compression {cause}; convert it to PNG")
        if str(cause).startswith(("unknown", "Invalid value for samples")):
            return UndecodableError("unsupported", f"a TIFF of an {cause}; convert it to PNG")
    return UndecodableError("corrupt", "its header cannot be read")


def exif_orientation(image: Image.Image) -> int:
    """1 to 8; 1 where EXIF says nothing or cannot be read."""
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except (SyntaxError, ValueError, TypeError, struct.error, LookupError):
        return 1


def open_rgb(data: bytes, at_least: int | None = None) -> Image.Image:
    """The whole image, decoded, upright, RGB. Raises UndecodableError.

    Its size is not limited: what the catalogue uses has gone through `examine`.
    at_least: a JPEG may come at a half, quarter or eighth of its size, no side below this.
    """
    with only_undecodable():
        image = open_lazily(data)
        if at_least:
            image.draft(image.mode, (at_least, at_least))
        image, orientation = load(image)
        return rgb(image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image)


def load(image: Image.Image) -> tuple[Image.Image, int]:
    """An image that was opened lazily, decoded, and its orientation."""
    image.load()
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode.startswith("I;16"):
        return _deep_tiff(image), exif_orientation(image)
    return image, exif_orientation(image)


def _deep_tiff(image: TiffImagePlugin.TiffImageFile) -> Image.Image:
    """16-bit grey, of 12 bits or of 16, with black as 0: Pillow leaves that to us."""
    values = np.asarray(image).astype(np.uint32)
    if image.tag_v2.get(TIFF_BITS) == (12,):
        values = values * 65535 // 4095
    if image.tag_v2.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO:
        values = 65535 - values
    return Image.fromarray(values.astype(np.uint16))


def rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB; transparency over white."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit grey; of a PGM as "I"
        return Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "La":  # whose grey is multiplied by its transparency
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def decode(data: bytes, resizing: Resizing) -> np.ndarray:
    """(side, side, 3) uint8 RGB. Shrinking is antialiased. Raises UndecodableError.

    stretch: both sides to `side`. crop: the largest centred square. pad: whole image, black bars.

    A colour JPEG is decoded at the smallest n/8 of its size at which no side is below `side`; libjpeg scales among
    frequencies. Where that leaves less than a factor of 2 to a bilinear stretch, every pixel counts without
    antialiasing too, and OpenCV does it in a fifth of the time; all else is Pillow's
    (benchmarks/RESULTS.md has the decoders that this was chosen from).
    """
    side = resizing.side
    pixels = _scaled_jpeg(data, side)
    if (
        pixels is not None
        and (resizing.method, resizing.interpolation) == ("stretch", "bilinear")
        and max(pixels.shape[:2]) < 2 * side
    ):
        return _opencv().resize(pixels, (side, side))  # type: ignore[no-any-return]
    return _square(open_rgb(data) if pixels is None else Image.fromarray(pixels), resizing)


def to_square(pixels: np.ndarray, resizing: Resizing) -> np.ndarray:
    """(h, w) or (h, w, 1 | 3 | 4) uint8 -> (side, side, 3) uint8 RGB, as the same pixels from a lossless file."""
    return _square(rgb(Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)), resizing)


def _square(image: Image.Image, resizing: Resizing) -> np.ndarray:
    """An RGB image, resized."""
    size = (resizing.side, resizing.side)
    resampling = RESAMPLING[resizing.interpolation]
    if resizing.method == "crop":
        image = ImageOps.fit(image, size, resampling)
    elif resizing.method == "pad":
        image = ImageOps.pad(image, size, resampling)
    else:
        image = image.resize(size, resampling)
    return np.asarray(image)


def _scaled_jpeg(data: bytes, side: int) -> np.ndarray | None:
    """(h, w, 3) uint8, upright, at the smallest n/8 of its size with no side below `side`; None if no colour JPEG."""
    if not data.startswith(JPEG_START):
        return None
    with only_undecodable():
        header = open_lazily(data)
        if header.mode != "RGB":
            return None
        try:
            pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=side, min_width=side, min_factor=1)
        except ValueError:  # some harmless disorder in it, which Pillow reads over and `examine` let pass
            return None
        orientation = exif_orientation(header)
        return np.asarray(Image.fromarray(pixels).transpose(UPRIGHT[orientation])) if orientation in UPRIGHT else pixels


@cache
def _opencv() -> Any:
    """Imported where it is used; as one thread among many it must not start its own."""
    import cv2

    cv2.setNumThreads(1)
    return cv2
