"""On the machines of a Ray cluster: blocks of paths go to a pool of processes, which read the images themselves."""

from __future__ import annotations

import pickle
from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING

from graft.cluster import connection, pool
from graft.examples.checks import verdict_cache
from graft.examples.checks.runners.base import Job, Runner, Some
from graft.examples.checks.runners.worker import EXAMINED, NUMBER, Examination

if TYPE_CHECKING:
    from graft.config.schema import RayParams

KEY = "data.runner"

BLOCK = 256
"""Images of a block: it is what is lost where an actor dies."""


def on(cluster: RayParams) -> Runner:
    """cluster: `ray` of params.yaml."""
    return partial(_run, connection.on_processors(cluster))


def _run(cluster: RayParams, job: Job) -> Generator[Some]:
    """In the order in which they are ready. Raises DataError where an image kills every actor that examines it."""
    with pool.opened(KEY, cluster) as actors:
        blocks = pool.in_blocks(enumerate(job.paths), actors.share(len(job.paths), BLOCK))
        work = Examination(job.source, job.root, job.max_pixels, verdict_cache.rules())
        for answer in actors.answers(work, blocks):
            yield list(zip(answer[NUMBER].tolist(), map(pickle.loads, answer[EXAMINED]), strict=True))
