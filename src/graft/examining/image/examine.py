"""An image is decoded in full, once: what it is, and what is wrong with it.

A verdict depends on the bytes, and on `max_pixels` where that kept it from being decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image
from scipy.fft import dctn

from graft.examining.image.jpeg import strictly
from graft.inputs.image.decode import UPRIGHT, exif_orientation, load, name_of, only_undecodable, open_lazily, rgb
from graft.inputs.spec import UndecodableError

DARK_BITS = 14
"""An image of 16 bits that needs no more is at most a quarter as bright as white."""

PNG_END = b"IEND\xaeB`\x82"
MOST_BEHIND_PNG = 2**16
"""Bytes in which a PNG's end is looked for, since some have more behind it."""

HASH_SIDE = 16
SIDE = 2 * HASH_SIDE
"""The side of what the perceptual hash is computed from, in pixels."""

COLOUR_SIDE = 8
"""The side of what colours are compared by, in pixels."""

FLAT = 2.0
"""Standard deviation of grey levels below which an image has no structure to be compared."""


Remark = tuple[str, str]
"""reason, detail"""


@dataclass(frozen=True)
class Verdict:
    """width, height: of the upright image, pixels, 0 if unknown. format: a key of FORMATS, "" if unknown.

    perceptual_hash: 32 bytes, or none where there is no structure to compare. colours: (COLOUR_SIDE, COLOUR_SIDE, 3)
    uint8 YCbCr, or none likewise. reason, detail: as in UndecodableError, "" for an image. decoded: False where it was
    too large to be. remarks: on an image that can be used.
    """

    width: int
    height: int
    format: str
    perceptual_hash: bytes = b""
    colours: bytes = b""
    reason: str = ""
    detail: str = ""
    decoded: bool = True
    remarks: tuple[Remark, ...] = ()


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
    kind = ""
    try:
        with only_undecodable():
            image = open_lazily(data)
            width, height = image.size
            kind = name_of(image)
            if width * height > max_pixels:
                return Seen(Verdict(width, height, kind, decoded=False))
            remarks = _frames(image)
            stored, orientation, more = _stored(image, data)
            remarks += more
            if orientation in (5, 6, 7, 8):
                width, height = height, width
            # Coarser steps than these would make a copy in another size look different.
            small = stored.reduce(max(1, min(stored.size) // (4 * SIDE)))
            upright = small.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else small
            grey = upright.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            colours = upright.resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX).convert("RGB").convert("YCbCr")
            verdict = Verdict(width, height, kind, remarks=tuple(remarks))
            return Seen(verdict, np.asarray(grey), np.asarray(colours))
    except UndecodableError as error:
        return Seen(Verdict(width, height, kind, reason=error.reason, detail=error.detail))


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


def _frames(image: Image.Image) -> list[Remark]:
    """Whether there are more pictures than the one that is used. Those behind a JPEG are not worth a word."""
    n = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    if n == 1:
        return []
    if image.format == "TIFF":
        return [("several pages", f"the first of {n} pages is used")]
    return [("animation", f"the first of {n} frames is used")]


def _dark(tiles: Sequence[Any], stored: Image.Image) -> list[Remark]:
    """Whether an image of 16 bits uses only the lower ones, as cameras and scanners of 10 or 12 bits leave them.

    It is used as it is: a picture that is dark looks the same, and a guess for each would change the brightness
    between the images of a data set. tiles: Pillow's, before it decoded them.
    """
    if stored.mode == "CMYK" or not any(map(_holds_16_bits, tiles)):
        return []
    if stored.mode.startswith("I"):
        most = int(np.asarray(stored).max())
    else:  # Pillow has left the lower bits out
        colours = np.asarray(stored)
        most = 256 * int(colours[..., :3].max() if stored.mode.startswith("RGB") else colours[..., 0].max()) + 255
    if not most or most.bit_length() > DARK_BITS:
        return []
    detail = f"no value needs more than {most.bit_length()} of the 16 bits; stretch them, or convert to 8 bits"
    return [("dark 16-bit values", detail)]


def _holds_16_bits(tile: Any) -> bool:
    """Whether the values of a part of a file are of 16 bits; a PNM that says what its white is has less."""
    kind, *more = tile.args if isinstance(tile.args, tuple) else (tile.args,)
    return ";16" in str(kind) or more[:1] == [65535]


def _stored(image: Image.Image, data: bytes) -> tuple[Image.Image, int, list[Remark]]:
    """The picture, grey or RGB, from all bytes, as it is stored, its orientation, and what is remarkable about it.

    A JPEG's bytes are all decompressed, but into as few pixels as will do. Others are opened anew and
    decoded just as `decode` does it, since counting frames changes what Pillow makes of damaged ones.
    """
    remarks: list[Remark] = []
    if image.format in ("JPEG", "MPO"):
        colours = {"CMYK": "CMYK", "L": "GRAY"}.get(image.mode, "RGB")
        decoded, junk = strictly(data, colours, 2 * SIDE)
        if junk:
            remarks.append(("junk between headers", f"{junk} bytes that decoders pass over"))
        if decoded is not None and colours != "CMYK":
            picture = Image.fromarray(decoded[..., 0] if colours == "GRAY" else decoded)
            return picture, exif_orientation(image), remarks
    elif image.format == "PNG" and PNG_END not in data[-MOST_BEHIND_PNG:]:
        raise UndecodableError("truncated", "no end marker")
    opened = open_lazily(data)
    tiles = list(getattr(opened, "tile", ()))
    stored, orientation = load(opened)
    return (stored if stored.mode == "L" else rgb(stored)), orientation, remarks + _dark(tiles, stored)
