"""On this machine, on all of its cores."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import joblib

from graft.examining.image.examine import Verdict
from graft.examples.checks import looking, verdict_cache
from graft.examples.checks.examined import Examined
from graft.examples.checks.runners.base import Job, Runner, Some
from graft.examples.sources import SOURCES
from graft.examples.sources.base import Reader

if TYPE_CHECKING:
    from graft.config.schema import RayParams

PROCESSES_FROM = 4000
"""Images from which on processes are worth their start; below, threads share the work."""


def on(cluster: RayParams) -> Runner:
    """Without it."""
    return run


def run(job: Job) -> Generator[Some]:
    """In the order of the paths. What the cache of this machine has by its content is not looked into."""
    chunks = looking.chunks(job.reader, job.paths)
    if len(job.paths) >= PROCESSES_FROM and job.reader.cheap_to_open:
        results = _by_processes(job, chunks)
    else:
        known = verdict_cache.by_content(job.max_pixels)
        results = looking.by_threads(job.reader, chunks, job.max_pixels, known)
    done = 0
    for examined in results:
        yield list(enumerate(examined, done))
        done += len(examined)


def _by_processes(job: Job, chunks: Iterable[Sequence[str]]) -> Iterator[list[Examined[Verdict]]]:
    n_jobs = looking.side_by_side(job.reader)
    parallel = joblib.Parallel(n_jobs, backend="loky", return_as="generator", pre_dispatch="4*n_jobs")
    yield from parallel(
        joblib.delayed(_in_process)(job.source, str(job.root), paths, job.max_pixels) for paths in chunks
    )


@cache
def _reader(source: str, root: str) -> Reader:
    return SOURCES[source].open(Path(root))


def _in_process(source: str, root: str, paths: Sequence[str], max_pixels: int) -> list[Examined[Verdict]]:
    return looking.examine(_reader(source, root), paths, max_pixels, verdict_cache.by_content(max_pixels))
