"""What images are: their files are read, hashed, and looked into where that is not known by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import joblib

from graft.examining.image.examine import Seen, Verdict, look, with_hashes
from graft.examples.checks.examined import Examined
from graft.examples.sources.base import Reader
from graft.runtime.cores import available

CHUNK = 64
"""Images that are examined together."""

WAITING, CHUNK_WAITING = 16, 4
"""Threads, and images of a chunk, where they wait for a network most of the time: what is read at once lies close
together, as in the blocks of a shard."""

BYTES_PER_PIXEL = 8
"""Bytes per pixel of the largest file that is read: no format needs more for 16 bits of four channels."""

METADATA_BYTES = 2**24
"""Allowed beside the pixels."""

Known = Callable[[str], Verdict | None]
"""The verdict on these bytes, by their sha256; None where there is none."""


def side_by_side(reader: Reader) -> int:
    """How many chunks should be worked on at a time."""
    return max(available(), WAITING) if reader.waits else available()


def chunks(reader: Reader, paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """`paths`, in order, in parts that are worked on together."""
    size = CHUNK_WAITING if reader.waits else CHUNK
    return (paths[start : start + size] for start in range(0, len(paths), size))


def by_threads(
    reader: Reader, parts: Iterable[Sequence[str]], max_pixels: int, known: Known
) -> Iterator[list[Examined[Verdict]]]:
    """Of each part in order, as `examine` gives it."""
    parallel = joblib.Parallel(
        side_by_side(reader), backend="threading", return_as="generator", pre_dispatch="4*n_jobs"
    )
    yield from parallel(joblib.delayed(examine)(reader, paths, max_pixels, known) for paths in parts)


def examine(reader: Reader, paths: Sequence[str], max_pixels: int, known: Known) -> list[Examined[Verdict]]:
    """All of `paths`, in order, on this thread."""
    done: list[Examined[Verdict]] = []
    new: dict[int, Seen] = {}
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
        verdict = known(sha256)
        if verdict is None:
            new[i] = look(data, max_pixels)
        done.append(Examined(sha256, len(data), verdict))
        del data  # or it would be held while the next one is read
    for i, verdict in zip(new, with_hashes(list(new.values())), strict=True):
        done[i] = replace(done[i], verdict=verdict)
    return done
