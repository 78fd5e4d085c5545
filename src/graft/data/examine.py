"""Every image is decoded in full, once: what it is, and what is wrong with it.

A verdict depends on the bytes alone and is kept in graft's cache by their sha256; a file that has not
changed since is not even read. Nothing but time depends on that cache.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import imagehash
import joblib
import numpy as np
import simplejpeg
from PIL import Image

from graft.data.decode import UndecodableError, open_lazily, rgb, verdicts
from graft.data.sources import SOURCES
from graft.data.sources.base import Reader
from graft.data.verdicts import Store, Verdict
from graft.progress import say, track

PROCESSES_FROM = 4000
"""Images from which on processes are worth their start; below, threads share the work."""

CHUNK = 64
HASH_SIDE = 16
FLAT = 2.0
"""Standard deviation of grey levels below which an image has no structure to be compared."""

EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def examine(data: bytes, max_pixels: int) -> Verdict:
    """What the bytes of a file are. An image of more than `max_pixels` is not decoded."""
    width = height = 0
    kind, frames = "", 1
    try:
        with verdicts():
            image = open_lazily(data)
            width, height = image.size
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            if width * height > max_pixels:
                return Verdict(width, height, kind, decoded=False)
            orientation = image.getexif().get(EXIF_ORIENTATION, 1)  # of a PNG this decodes it
            turn = UPRIGHT.get(orientation)
            if orientation in (5, 6, 7, 8):
                width, height = height, width
            frames = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
            grey = _grey(image, data)
            small = grey.reduce(max(1, min(grey.size) // 64))
            return Verdict(width, height, kind, frames, _perceptual_hash(small.transpose(turn) if turn else small))
    except UndecodableError as error:
        return Verdict(width, height, kind, frames, reason=error.reason, detail=error.detail)


def _grey(image: Image.Image, data: bytes) -> Image.Image:
    """Luminance, from all bytes. A JPEG's colours are decompressed too, but not converted, which costs half as much."""
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
        try:
            return Image.fromarray(simplejpeg.decode_jpeg(data, colorspace="GRAY", strict=True)[..., 0])
        except ValueError as error:
            _judge_jpeg(str(error), data)
    image.load()
    return image if image.mode == "L" else rgb(image).convert("L")


def _judge_jpeg(message: str, data: bytes) -> None:
    """libjpeg mends damage and only warns, so that Pillow shows grey bands and says nothing; strict makes it tell.

    Padding before the end marker is harmless, as are warnings about headers: Pillow decides then. Other bytes there
    are what was left over when damage made the picture end early.
    """
    if message.startswith("Premature end of JPEG file"):
        raise UndecodableError("truncated", message)
    if message.startswith("Corrupt JPEG data: "):
        detail = message.removeprefix("Corrupt JPEG data: ")
        left_over = re.fullmatch(r"(\d+) extraneous bytes before marker 0xd9", detail)
        end = data.rfind(b"\xff\xd9")
        if not left_over or data[end - int(left_over[1]) : end].strip(b"\x00\xff"):
            raise UndecodableError("corrupt", detail)


def _perceptual_hash(small: Image.Image) -> bytes:
    """256 bits: signs about the median of the 16x16 lowest frequencies (pHash, Zauner 2010). Empty where flat."""
    if np.asarray(small).std() < FLAT:
        return b""
    return np.packbits(imagehash.phash(small, hash_size=HASH_SIDE, highfreq_factor=2).hash).tobytes()


@dataclass(frozen=True)
class Examined:
    """verdict: None where the file could not be read, for `error`. n_bytes: of the file, 0 if unknown."""

    sha256: str
    n_bytes: int
    verdict: Verdict | None
    error: str = ""


def examine_all(source: str, root: Path, paths: Sequence[str], max_pixels: int) -> list[Examined]:
    """All of `paths`, in order, on all cores. What is known is neither read nor decoded again."""
    store = Store.opened()
    reader = SOURCES[source].open(root)
    found: dict[int, Examined] = {}
    stamps = [reader.stamp(path) for path in paths]
    for i, known in enumerate(store.known(stamps, max_pixels)):
        if known is not None:
            found[i] = Examined(*known)
    rest = [i for i in range(len(paths)) if i not in found]
    if found:
        say(f"{len(found)} images have not changed since they were examined: not read again")
    if not rest:
        return [found[i] for i in range(len(paths))]
    chunks = [rest[start : start + CHUNK] for start in range(0, len(rest), CHUNK)]
    results = _in_parallel(source, root, reader, [[paths[i] for i in chunk] for chunk in chunks], max_pixels)
    for chunk, examined in track(zip(chunks, results, strict=True), len(rest), "examining", lambda pair: len(pair[0])):
        for i, one in zip(chunk, examined, strict=True):
            found[i] = one
        store.keep([(stamps[i], one.sha256, one.n_bytes, one.verdict) for i, one in zip(chunk, examined, strict=True)])
    return [found[i] for i in range(len(paths))]


def _in_parallel(
    source: str, root: Path, reader: Reader, chunks: list[list[str]], max_pixels: int
) -> Iterator[list[Examined]]:
    n_jobs = os.cpu_count() or 1
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
    store = Store.opened()
    done = []
    for path in paths:
        try:
            data = reader.read(path)
        except OSError as error:
            done.append(Examined("", 0, None, error.strerror or str(error)))
            continue
        sha256 = hashlib.sha256(data).hexdigest()
        verdict = store.verdict(sha256, max_pixels) or examine(data, max_pixels)
        done.append(Examined(sha256, len(data), verdict))
    return done
