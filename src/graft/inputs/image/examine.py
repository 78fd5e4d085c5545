"""An image is decoded in full, once: what it is, and what is wrong with it.

A verdict depends on the bytes, and on `max_pixels` where that kept it from being decoded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import simplejpeg
from PIL import Image
from scipy.fft import dctn

from graft.inputs.image.decode import (
    UPRIGHT,
    UndecodableError,
    exif_orientation,
    load,
    only_undecodable,
    open_lazily,
    rgb,
)

PNG_END = b"IEND\xaeB`\x82"
MOST_BEHIND_PNG = 2**16
"""Bytes in which a PNG's end is looked for, since some have more behind it."""

JFIF_VERSION = b"\x01\x01"

HASH_SIDE = 16
SIDE = 2 * HASH_SIDE
"""The side of what the perceptual hash is computed from, in pixels."""

COLOUR_SIDE = 8
"""The side of what colours are compared by, in pixels."""

FLAT = 2.0
"""Standard deviation of grey levels below which an image has no structure to be compared."""


@dataclass(frozen=True)
class Verdict:
    """width, height: of the upright image, pixels, 0 if unknown. format: Pillow's name for it, "" if unknown.

    perceptual_hash: 32 bytes, or none where there is no structure to compare. colours: (COLOUR_SIDE, COLOUR_SIDE, 3)
    uint8 YCbCr, or none likewise. reason, detail: as in UndecodableError, "" for an image. decoded: False where it was
    too large to be.
    """

    width: int
    height: int
    format: str
    frames: int = 1
    perceptual_hash: bytes = b""
    colours: bytes = b""
    reason: str = ""
    detail: str = ""
    decoded: bool = True


def examine(data: bytes, max_pixels: int) -> Verdict:
    """What the bytes of a file are. An image of more than `max_pixels` is not decoded."""
    return with_hashes([look(data, max_pixels)])[0]


@dataclass(frozen=True)
class Seen:
    """grey: (SIDE, SIDE) uint8, colours: as in Verdict, both upright; None where there is nothing to compare."""

    verdict: Verdict
    grey: np.ndarray | None = None
    colours: np.ndarray | None = None


def look(data: bytes, max_pixels: int) -> Seen:
    width = height = 0
    kind, frames = "", 1
    try:
        with only_undecodable():
            image = open_lazily(data)
            width, height = image.size
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            if width * height > max_pixels:
                return Seen(Verdict(width, height, kind, decoded=False))
            frames = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
            stored, orientation = _stored(image, data)
            if orientation in (5, 6, 7, 8):
                width, height = height, width
            # Coarser steps than these would make a copy in another size look different.
            small = stored.reduce(max(1, min(stored.size) // (4 * SIDE)))
            upright = small.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else small
            grey = upright.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            colours = upright.resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX).convert("RGB").convert("YCbCr")
            return Seen(Verdict(width, height, kind, frames), np.asarray(grey), np.asarray(colours))
    except UndecodableError as error:
        return Seen(Verdict(width, height, kind, frames, reason=error.reason, detail=error.detail))


def with_hashes(seen: Sequence[Seen]) -> list[Verdict]:
    """Verdicts with colours and a perceptual hash of 256 bits: signs about the median of the 16x16 lowest frequencies.

    pHash (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010), bit for bit that of
    ImageHash's `phash(hash_size=16, highfreq_factor=2)`; many at once, since its calls cost as much as decoding does.
    """
    found = [one.verdict for one in seen]
    compared = [i for i, one in enumerate(seen) if one.grey is not None]
    if compared:
        grey = np.stack([seen[i].grey for i in compared]).astype(np.float64)  # type: ignore[misc]
        low = dctn(grey, axes=(1, 2))[:, :HASH_SIDE, :HASH_SIDE].reshape(-1, HASH_SIDE**2)
        hashes = np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1)
        for i, bits, spread in zip(compared, hashes, grey.std(axis=(1, 2)), strict=True):
            if spread >= FLAT:
                found[i] = replace(found[i], perceptual_hash=bits.tobytes(), colours=seen[i].colours.tobytes())  # type: ignore[union-attr]
    return found


def _stored(image: Image.Image, data: bytes) -> tuple[Image.Image, int]:
    """The picture, grey or RGB, from all bytes, as it is stored, and its orientation.

    A JPEG's bytes are all decompressed, but into as few pixels as will do. Others are opened anew and
    decoded just as `decode` does it, since counting frames changes what Pillow makes of damaged ones.
    """
    if image.format in ("JPEG", "MPO"):
        colours = {"CMYK": "CMYK", "L": "GRAY"}.get(image.mode, "RGB")
        decoded = _strictly(data, colours)
        if decoded is not None and colours != "CMYK":
            return Image.fromarray(decoded[..., 0] if colours == "GRAY" else decoded), exif_orientation(image)
    elif image.format == "PNG" and PNG_END not in data[-MOST_BEHIND_PNG:]:
        raise UndecodableError("truncated", "no end marker")
    stored, orientation = load(open_lazily(data))
    return (stored if stored.mode == "L" else rgb(stored)), orientation


def _strictly(data: bytes, colours: str) -> np.ndarray | None:
    """A JPEG's pixels, or None where Pillow is to decide.

    libjpeg mends damage and only warns, so that Pillow shows grey bands and says nothing; strict makes it tell.
    Raises UndecodableError for what it tells, but for padding before an end marker, which is harmless. Other bytes
    there are what was left over when damage made the picture end early. Only the first warning is told, so one about
    the header's version is got out of the way.
    """
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, colours, min_height=2 * SIDE, min_width=2 * SIDE, strict=True))
    except ValueError as error:
        message = str(error)
    if "JFIF revision" in message and data[6:11] == b"JFIF\0" and data[11:13] != JFIF_VERSION:
        return _strictly(data[:11] + JFIF_VERSION + data[13:], colours)
    if message.startswith("Premature end of JPEG file"):
        raise UndecodableError("truncated", message)
    if message.startswith("Corrupt JPEG data: "):
        detail = message.removeprefix("Corrupt JPEG data: ")
        left_over = re.fullmatch(r"(\d+) extraneous bytes before marker 0xd9", detail)
        if not left_over or not _padded(data, int(left_over[1])):
            raise UndecodableError("corrupt", detail)
    return None


def _padded(data: bytes, n: int) -> bool:
    """Whether n bytes before an end marker are all padding."""
    ends = (match.start() for match in re.finditer(rb"\xff\xd9", data))
    return any(end >= n and not data[end - n : end].strip(b"\x00\xff") for end in ends)
