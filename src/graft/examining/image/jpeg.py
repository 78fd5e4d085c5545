"""What is wrong with a JPEG. libjpeg mends damage and only warns, so that viewers show grey bands and say nothing."""

from __future__ import annotations

import re

import numpy as np
import simplejpeg

from graft.inputs.spec import UndecodableError

JFIF_VERSION = b"\x01\x01"
PROFILE = b"ICC_PROFILE\0"
MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
START_OF_SCAN = 0xDA
WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD8))
"""Markers that nothing belongs to."""

Strict = tuple[np.ndarray | None, int]
"""Pixels, (h, w, channels) uint8, or None where Pillow is to decide; bytes of junk between the headers."""


def strictly(data: bytes, colours: str, least_side: int) -> Strict:
    """A JPEG from all its bytes, in as few pixels as will do. colours: GRAY, RGB or CMYK.

    Raises UndecodableError for what libjpeg warns of, but for what is harmless: padding before an end marker, a damaged
    colour profile, and junk between the headers, which decoders pass over. Other bytes before an end marker are what
    was left over when damage made the picture end early. Only the first warning is told, so harmless ones are got out
    of the way.
    """
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, min_height=least_side, min_width=least_side, strict=True)
        return np.asarray(pixels), 0
    except ValueError as error:
        message = str(error)
    if "JFIF revision" in message and data[6:11] == b"JFIF\0" and data[11:13] != JFIF_VERSION:
        return strictly(data[:11] + JFIF_VERSION + data[13:], colours, least_side)
    if message.startswith("Premature end of JPEG file"):
        raise UndecodableError("truncated", message)
    if message.startswith("Corrupt JPEG data: "):
        clean, junk = _without_junk(data)
        if clean != data:
            return strictly(clean, colours, least_side)[0], junk
        detail = message.removeprefix("Corrupt JPEG data: ")
        left_over = re.fullmatch(r"(\d+) extraneous bytes before marker 0xd9", detail)
        if not left_over or not _padded(data, int(left_over[1])):
            raise UndecodableError("corrupt", detail)
    return None, 0


def _without_junk(data: bytes) -> tuple[bytes, int]:
    """The bytes without those that libjpeg passes over when it looks for the next header, and how many they were.

    From the first scan on they are as they were. Colour profiles, which change no pixel, go too.
    """
    kept, junk, place = [data[:2]], 0, 2
    while (marker := MARKER.search(data, place)) is not None:
        junk += marker.start() - place
        kind, end = marker[1][0], marker.end()
        if kind == START_OF_SCAN:
            return b"".join((*kept, data[marker.start() :])), junk
        if kind not in WITHOUT_LENGTH:
            end += max(2, int.from_bytes(data[end : end + 2]))
        if not data.startswith(PROFILE, marker.end() + 2):
            kept.append(data[marker.start() : end])
        place = end
    return data, 0


def _padded(data: bytes, n: int) -> bool:
    """Whether n bytes before an end marker are all padding."""
    ends = (match.start() for match in re.finditer(rb"\xff\xd9", data))
    return any(end >= n and not data[end - n : end].strip(b"\x00\xff") for end in ends)
