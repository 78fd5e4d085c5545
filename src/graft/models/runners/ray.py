"""On the machines of a Ray cluster: runs of blocks go to a pool of processes, which read the features themselves."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from graft.cluster import connection, pool
from graft.convex import blocks
from graft.models.runners import worker
from graft.models.runners.worker import ANSWER, Solving
from graft.runtime.computing import numerics

if TYPE_CHECKING:
    import numpy as np

    from graft.cluster.pool import Pool
    from graft.config.schema import RayParams
    from graft.convex.system import Problem, Runner
    from graft.models.runners.base import Job
    from graft.models.solved import Runners

T = TypeVar("T")
R = TypeVar("R")

KEY = "train.runner"


@contextmanager
def on(job: Job, cluster: RayParams) -> Iterator[Runners]:
    """cluster: `ray` of params.yaml."""
    with pool.opened(KEY, connection.on_processors(cluster)) as actors:
        yield partial(_of_rows, actors, job)


def _of_rows(actors: Pool, job: Job, rows: np.ndarray) -> Runner:
    return partial(_runs, actors, job, rows)


def _runs(
    actors: Pool,
    job: Job,
    rows: np.ndarray,
    given: Problem,
    work: Callable[[Problem, slice], T],
    join: Callable[[Iterator[T]], R],
) -> Iterator[R]:
    """As a `system.Runner`. OpenBLAS reads its variable as NumPy is imported, which an actor does as it starts."""
    solving = Solving(
        job, rows, given.targets, given.weights, given.n_classes, work, join, worker.made_with(job.numerics)
    )
    runs = [[run] for run in blocks.runs(len(given.targets), given.views)]
    for answer in actors.answers(solving, runs, ordered=True, environment=numerics.settings(job.numerics)):
        yield from map(pickle.loads, answer[ANSWER])
