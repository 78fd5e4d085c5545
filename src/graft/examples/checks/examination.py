"""Every image of a source is examined once, where `data.runner` says; a verdict is kept in graft's cache by the file's
sha256.

A file that has not changed since is not even read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from graft.examining.image.examine import Verdict
from graft.examples.checks.examined import Examined
from graft.examples.checks.runners.base import Job, Runner
from graft.examples.checks.verdict_cache import VerdictCache
from graft.examples.sources import SOURCES
from graft.examples.sources.base import Reader
from graft.runtime.progress import say, track

if TYPE_CHECKING:
    from graft.config.data import DataParams

LOOK_UP = 1024
"""Images whose verdicts are looked up at a time."""

SAVE_SECONDS = 2.0
"""Between transactions of the cache, since each waits for the disk."""


def examine_all(data: DataParams, paths: Sequence[str], runner: Runner) -> list[Examined[Verdict]]:
    """All of `paths`, in order. What is known is neither read nor decoded again."""
    store, root = VerdictCache(), Path(data.path)
    reader = SOURCES[data.source].open(root)
    found, stamps = _known(reader, store, paths, data.max_pixels)
    if len(stamps) < len(paths):
        say(f"{len(paths) - len(stamps)} images have not changed since they were examined: not read again")
    if not stamps:
        return list(found.values())
    rest = list(stamps)
    unsaved: list[tuple[str | None, str, int, Verdict | None]] = []
    saved = time.monotonic()
    job = Job(data.source, root, reader, [paths[i] for i in rest], data.max_pixels)
    with closing(runner(job)) as results:
        for some in track(results, len(rest), "examining", len):
            for number, one in some:
                i = rest[number]
                found[i] = one
                unsaved.append((stamps.pop(i), one.sha256, one.n_bytes, one.verdict))
            if time.monotonic() - saved > SAVE_SECONDS:
                store.keep(unsaved)
                unsaved, saved = [], time.monotonic()
    store.keep(unsaved)
    return [found.pop(i) for i in range(len(paths))]


def _known(
    reader: Reader, store: VerdictCache, paths: Sequence[str], max_pixels: int
) -> tuple[dict[int, Examined[Verdict]], dict[int, str | None]]:
    """What is known of files, by their numbers, and the stamps of the others, from before they are read."""
    found: dict[int, Examined[Verdict]] = {}
    stamps: dict[int, str | None] = {}
    for start in range(0, len(paths), LOOK_UP):
        some = [reader.stamp(path) for path in paths[start : start + LOOK_UP]]
        for i, (stamp, known) in enumerate(zip(some, store.unchanged(some, max_pixels), strict=True), start):
            if known is None:
                stamps[i] = stamp
            else:
                found[i] = Examined(*known)
    return found, stamps
