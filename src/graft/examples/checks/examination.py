"""Every image of a source is examined once, on all cores; a verdict is kept in graft's cache by the file's sha256.

A file that has not changed since is not even read.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import joblib

from graft.examples.checks.examined import Examined
from graft.examples.checks.verdict_cache import VerdictCache
from graft.examples.compact import Numbers, Texts
from graft.examples.sources import SOURCES
from graft.examples.sources.base import Reader
from graft.inputs.image.examine import Seen, Verdict, look, with_hashes
from graft.runtime.cores import available
from graft.runtime.progress import say, track

PROCESSES_FROM = 4000
"""Images from which on processes are worth their start; below, threads share the work."""

LOOK_UP = 1024
"""Images whose verdicts are looked up at a time."""

CHUNK = 64
WAITING, CHUNK_WAITING = 16, 4
"""Threads, and images of a chunk, where they wait for a network most of the time: what is read at once lies close
together, as in the blocks of a shard."""

SAVE_SECONDS = 2.0
"""Between transactions of the cache, since each waits for the disk."""

BYTES_PER_PIXEL = 8
"""Bytes per pixel of the largest file that is read: no format needs more for 16 bits of four channels."""

METADATA_BYTES = 2**24
"""Allowed beside the pixels."""


def examine_all(
    source: str, root: Path, paths: Sequence[str], max_pixels: int
) -> Iterator[tuple[int, Examined[Verdict]]]:
    """All of `paths` with their numbers, first what is known, which is neither read nor decoded again; then the others,
    on all cores.
    """
    store = VerdictCache()
    reader = SOURCES[source].open(root)
    rest, stamps = Numbers[int]("q"), Texts()  # of the others; stamps are from before they are read
    for start in range(0, len(paths), LOOK_UP):
        some = [reader.stamp(path) for path in paths[start : start + LOOK_UP]]
        for number, (stamp, known) in enumerate(zip(some, store.unchanged(some, max_pixels), strict=True), start):
            if known is None:
                rest.extend([number])
                stamps.extend([stamp or ""])
            else:
                yield number, Examined(*known)
    if len(rest) < len(paths):
        say(f"{len(paths) - len(rest)} images have not changed since they were examined: not read again")
    if not rest:
        return
    unsaved: list[tuple[str | None, str, int, Verdict | None]] = []
    saved = time.monotonic()
    size = CHUNK_WAITING if reader.waits else CHUNK
    chunks = [slice(start, start + size) for start in range(0, len(rest), size)]
    named = ([paths[number] for number in rest[chunk]] for chunk in chunks)
    results = _in_parallel(source, root, reader, len(rest), named, max_pixels)
    for chunk, examined in track(zip(chunks, results, strict=True), len(rest), "examining", lambda pair: len(pair[1])):
        for number, stamp, one in zip(rest[chunk], stamps[chunk], examined, strict=True):
            yield number, one
            unsaved.append((stamp or None, one.sha256, one.n_bytes, one.verdict))
        if time.monotonic() - saved > SAVE_SECONDS:
            store.keep(unsaved)
            unsaved, saved = [], time.monotonic()
    store.keep(unsaved)


def _in_parallel(
    source: str, root: Path, reader: Reader, n: int, chunks: Iterable[list[str]], max_pixels: int
) -> Iterator[list[Examined[Verdict]]]:
    """n: of all chunks together."""
    n_jobs = max(available(), WAITING) if reader.waits else available()
    if n < PROCESSES_FROM or not reader.cheap_to_open:
        parallel = joblib.Parallel(n_jobs, backend="threading", return_as="generator", pre_dispatch="4*n_jobs")
        yield from parallel(joblib.delayed(_examine_chunk)(reader, chunk, max_pixels) for chunk in chunks)
    else:
        parallel = joblib.Parallel(n_jobs, backend="loky", return_as="generator", pre_dispatch="4*n_jobs")
        yield from parallel(joblib.delayed(_in_process)(source, str(root), chunk, max_pixels) for chunk in chunks)


@cache
def _reader(source: str, root: str) -> Reader:
    return SOURCES[source].open(Path(root))


def _in_process(source: str, root: str, paths: list[str], max_pixels: int) -> list[Examined[Verdict]]:
    return _examine_chunk(_reader(source, root), paths, max_pixels)


def _examine_chunk(reader: Reader, paths: list[str], max_pixels: int) -> list[Examined[Verdict]]:
    store = VerdictCache()
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
        (known,) = store.by_content([sha256], max_pixels)
        if known is None:
            new[i] = look(data, max_pixels)
        done.append(Examined(sha256, len(data), known))
        del data  # or it would be held while the next one is read
    for i, verdict in zip(new, with_hashes(list(new.values())), strict=True):
        done[i] = replace(done[i], verdict=verdict)
    return done
