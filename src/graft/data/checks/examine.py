"""Every image is decoded in full, once: what it is, and what is wrong with it.

A verdict depends on the bytes, and on `max_pixels` where that kept it from being decoded. It is kept in graft's cache
by their sha256; a file that has not changed since is not even read.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import simplejpeg
from PIL import Image
from scipy.fft import dctn

from graft import cores
from graft.data.checks.verdicts import Store, Verdict
from graft.data.decode import UPRIGHT, UndecodableError, exif_orientation, open_lazily, rgb, verdicts
from graft.data.sources import SOURCES
from graft.data.sources.base import Reader
from graft.progress import say, track

PROCESSES_FROM = 4000
"""Images from which on processes are worth their start; below, threads share the work."""

CHUNK = 64
SAVE_SECONDS = 2.0
"""Between transactions of the cache, since each waits for the disk."""

BYTES_PER_PIXEL = 8
"""Of the largest file that is read: no format needs more for 16 bits of four channels."""

METADATA_BYTES = 2**24
"""Allowed beside the pixels."""

PNG_END = b"IEND\xaeB`\x82"
MOST_BEHIND_PNG = 2**16
"""Bytes in which a PNG's end is looked for, since some have more behind it."""

JFIF_VERSION = b"\x01\x01"

HASH_SIDE = 16
SIDE = 2 * HASH_SIDE
"""Of what the perceptual hash is computed from, in pixels."""

FLAT = 2.0
"""Standard deviation of grey levels below which an image has no structure to be compared."""


def examine(data: bytes, max_pixels: int) -> Verdict:
    """What the bytes of a file are. An image of more than `max_pixels` is not decoded."""
    return _with_hashes([_look(data, max_pixels)])[0]


@dataclass(frozen=True)
class _Seen:
    """thumbnail: (SIDE, SIDE) uint8 grey, upright; None where there is nothing to compare."""

    verdict: Verdict
    thumbnail: np.ndarray | None = None


def _look(data: bytes, max_pixels: int) -> _Seen:
    width = height = 0
    kind, frames = "", 1
    try:
        with verdicts():
            image = open_lazily(data)
            width, height = image.size
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            if width * height > max_pixels:
                return _Seen(Verdict(width, height, kind, decoded=False))
            orientation = exif_orientation(image)  # of a PNG this decodes it
            if orientation in (5, 6, 7, 8):
                width, height = height, width
            frames = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
            grey = _grey(image, data)
            # Coarser steps than these would make a copy in another size look different.
            small = grey.reduce(max(1, min(grey.size) // (4 * SIDE))).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            upright = small.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else small
            return _Seen(Verdict(width, height, kind, frames), np.asarray(upright))
    except UndecodableError as error:
        return _Seen(Verdict(width, height, kind, frames, reason=error.reason, detail=error.detail))


def _with_hashes(seen: Sequence[_Seen]) -> list[Verdict]:
    """Verdicts with the perceptual hash of 256 bits: signs about the median of the 16x16 lowest frequencies.

    pHash (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010), bit for bit that of
    ImageHash's `phash(hash_size=16, highfreq_factor=2)`; many at once, since its calls cost as much as decoding does.
    """
    found = [one.verdict for one in seen]
    compared = [i for i, one in enumerate(seen) if one.thumbnail is not None]
    if compared:
        grey = np.stack([seen[i].thumbnail for i in compared]).astype(np.float64)  # type: ignore[misc]
        low = dctn(grey, axes=(1, 2))[:, :HASH_SIDE, :HASH_SIDE].reshape(-1, HASH_SIDE**2)
        hashes = np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1)
        for i, bits, spread in zip(compared, hashes, grey.std(axis=(1, 2)), strict=True):
            if spread >= FLAT:
                found[i] = replace(found[i], perceptual_hash=bits.tobytes())
    return found


def _grey(image: Image.Image, data: bytes) -> Image.Image:
    """Luminance, from all bytes. A JPEG's are all decompressed, but into as few pixels as will do, without colours."""
    if image.format in ("JPEG", "MPO"):
        colours = "CMYK" if image.mode == "CMYK" else "GRAY"
        decoded = _strictly(data, colours)
        if decoded is not None and colours == "GRAY":
            return Image.fromarray(decoded[..., 0])
    elif image.format == "PNG" and PNG_END not in data[-MOST_BEHIND_PNG:]:
        raise UndecodableError("truncated", "no end marker")
    image.load()
    return image if image.mode == "L" else rgb(image).convert("L")


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


@dataclass(frozen=True)
class Examined:
    """verdict: None where the file could not be read, for `error`. n_bytes: of the file, 0 if unknown."""

    sha256: str
    n_bytes: int
    verdict: Verdict | None
    error: str = ""


def examine_all(source: str, root: Path, paths: Sequence[str], max_pixels: int) -> list[Examined]:
    """All of `paths`, in order, on all cores. What is known is neither read nor decoded again."""
    store = Store()
    reader = SOURCES[source].open(root)
    found: dict[int, Examined] = {}
    stamps = [reader.stamp(path) for path in paths]
    for i, known in enumerate(store.unchanged(stamps, max_pixels)):
        if known is not None:
            found[i] = Examined(*known)
    rest = [i for i in range(len(paths)) if i not in found]
    if found:
        say(f"{len(found)} images have not changed since they were examined: not read again")
    if not rest:
        return [found[i] for i in range(len(paths))]
    unsaved: list[int] = []
    saved = time.monotonic()
    chunks = [rest[start : start + CHUNK] for start in range(0, len(rest), CHUNK)]
    results = _in_parallel(source, root, reader, [[paths[i] for i in chunk] for chunk in chunks], max_pixels)
    for chunk, examined in track(zip(chunks, results, strict=True), len(rest), "examining", lambda pair: len(pair[0])):
        for i, one in zip(chunk, examined, strict=True):
            found[i] = one
        unsaved += chunk
        if time.monotonic() - saved > SAVE_SECONDS:
            store.keep([(stamps[i], found[i].sha256, found[i].n_bytes, found[i].verdict) for i in unsaved])
            unsaved, saved = [], time.monotonic()
    store.keep([(stamps[i], found[i].sha256, found[i].n_bytes, found[i].verdict) for i in unsaved])
    return [found[i] for i in range(len(paths))]


def _in_parallel(
    source: str, root: Path, reader: Reader, chunks: list[list[str]], max_pixels: int
) -> Iterator[list[Examined]]:
    n_jobs = cores.available()
    if len(chunks) * CHUNK < PROCESSES_FROM or not reader.cheap_to_open:
        parallel = joblib.Parallel(n_jobs, backend="threading", return_as="generator", pre_dispatch="4*n_jobs")
        yield from parallel(joblib.delayed(_examine_chunk)(reader, chunk, max_pixels) for chunk in chunks)
    else:
        parallel = joblib.Parallel(n_jobs, backend="loky", return_as="generator", pre_dispatch="4*n_jobs")
        yield from parallel(joblib.delayed(_in_process)(source, str(root), chunk, max_pixels) for chunk in chunks)


@cache
def _reader(source: str, root: str) -> Reader:
    return SOURCES[source].open(Path(root))


def _in_process(source: str, root: str, paths: list[str], max_pixels: int) -> list[Examined]:
    return _examine_chunk(_reader(source, root), paths, max_pixels)


def _examine_chunk(reader: Reader, paths: list[str], max_pixels: int) -> list[Examined]:
    store = Store()
    done: list[Examined] = []
    new: dict[int, _Seen] = {}
    for i, path in enumerate(paths):
        try:
            n_bytes = reader.size(path)
            if n_bytes > BYTES_PER_PIXEL * max_pixels + METADATA_BYTES:
                done.append(Examined("", n_bytes, None, f"{n_bytes} bytes, more than an image of data.max_pixels has"))
                continue
            data = reader.read(path)
        except OSError as error:
            done.append(Examined("", 0, None, error.strerror or str(error)))
            continue
        sha256 = hashlib.sha256(data).hexdigest()
        (known,) = store.verdicts([sha256], max_pixels)
        if known is None:
            new[i] = _look(data, max_pixels)
        done.append(Examined(sha256, len(data), known))
    for i, verdict in zip(new, _with_hashes(list(new.values())), strict=True):
        done[i] = replace(done[i], verdict=verdict)
    return done
