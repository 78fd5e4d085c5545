"""Every image of a source is examined once, by a runner; a verdict is kept in graft's cache by the file's sha256.

A file that has not changed since is not even read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from graft.examining.image.examine import Verdict
from graft.examples.checks.examined import Examined
from graft.examples.checks.runners.base import Job, Runner
from graft.examples.checks.verdict_cache import VerdictCache
from graft.examples.sources import SOURCES
from graft.runtime.columns import Numbers, Texts
from graft.runtime.progress import say, track

if TYPE_CHECKING:
    from graft.config.data import DataParams

LOOK_UP = 1024
"""Images whose verdicts are looked up at a time."""

SAVE_SECONDS = 2.0
"""Between transactions of the cache, since each waits for the disk."""


def examine_all(data: DataParams, paths: Sequence[str], runner: Runner) -> Iterator[tuple[int, Examined[Verdict]]]:
    """All of `paths` with their numbers, first what is known, which is neither read nor decoded again; then the others,
    by the runner.
    """
    store, root = VerdictCache(), Path(data.path)
    reader = SOURCES[data.source].open(root)
    rest, stamps = Numbers[int]("q"), Texts()  # of the others; stamps are from before they are read
    for start in range(0, len(paths), LOOK_UP):
        some = [reader.stamp(path) for path in paths[start : start + LOOK_UP]]
        for number, (stamp, known) in enumerate(zip(some, store.unchanged(some, data.max_pixels), strict=True), start):
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
    job = Job(data.source, root, reader, Texts(paths[number] for number in rest), data.max_pixels)
    with closing(runner(job)) as results:
        for found in track(results, len(rest), "examining", len):
            for place, one in found:
                yield rest[place], one
                unsaved.append((stamps[place] or None, one.sha256, one.n_bytes, one.verdict))
            if time.monotonic() - saved > SAVE_SECONDS:
                store.keep(unsaved)
                unsaved, saved = [], time.monotonic()
    store.keep(unsaved)
