"""Formats that are read. To add one that Pillow decodes, add a row."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """suffixes: of its files' names. start: a pattern of its files' first bytes."""

    suffixes: tuple[str, ...]
    start: re.Pattern[bytes]


def _row(suffixes: str, start: bytes) -> Format:
    return Format(tuple(suffixes.split()), re.compile(start, re.DOTALL))


FORMATS = {
    "JPEG": _row(".jpg .jpeg .jpe .jfif .mpo", rb"\xff\xd8\xff"),
    "PNG": _row(".png .apng", rb"\x89PNG\r\n\x1a\n"),
    "BMP": _row(".bmp .dib", rb"BM"),
    "GIF": _row(".gif", rb"GIF8"),
    "WEBP": _row(".webp", rb"RIFF"),
    "PPM": _row(".ppm .pgm .pbm .pnm", rb"P[1-6]"),
    "TIFF": _row(".tif .tiff", rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]"),
    "AVIF": _row(".avif", rb"....ftypavi[fs]"),
}
"""Pillow's name -> what its files are."""

ALSO = {"MPO": "JPEG", "DIB": "BMP"}
"""Pillow's names for a JPEG with other pictures behind it, and for a BMP without the file's header."""

SUFFIXES = tuple(suffix for row in FORMATS.values() for suffix in row.suffixes)


def starts_like_one(data: bytes) -> bool:
    return any(row.start.match(data) for row in FORMATS.values())
