"""On the machines of a Ray cluster: blocks of examples go to a pool of processes, each with its own network.

Results come in the order in which they are ready, so that a slow machine or disk keeps nobody else waiting.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from graft.cluster import pool
from graft.errors import SurroundingsError
from graft.features.runners.worker import SHA256, VIEW, Extraction

if TYPE_CHECKING:
    from graft.cluster.pool import Pool
    from graft.features.compute import Results
    from graft.features.runners.base import Job

KEY = "extract.runner"

BLOCK_VIEWS, BLOCK_BYTES = 256, 2**26
"""A block has at most so many views, and results of so many bytes: it is what is lost where an actor dies."""


def run(job: Job) -> Generator[Results]:
    """In the order in which they are ready. Raises DataError where an example kills every actor that computes it."""
    if job.cluster.gpus and job.plan.spec.engine != "tensorflow":
        raise SurroundingsError(
            "ray.gpus: above 0, graft itself must be started on a machine with such a GPU, too, which decides the "
            f"engine (`ray job submit --entrypoint-num-gpus 0.1`). Got the {job.plan.spec.engine} engine. Start it "
            "there, or set ray.gpus: 0.0."
        )
    with pool.opened(KEY, job.cluster) as actors:
        blocks = pool.in_blocks(job.tasks, _block_views(job, actors), lambda task: len(task.views))
        for answer in actors.answers(Extraction(job.plan, job.wanted, job.open_reader), blocks):
            keys = zip(answer[SHA256].tolist(), answer[VIEW].tolist(), strict=True)
            yield list(keys), {name: answer[name] for name in job.wanted}


def _block_views(job: Job, actors: Pool) -> int:
    n_bytes = sum(job.plan.outputs[name].part.n_bytes for name in job.wanted)
    return actors.share(job.tasks.n_views, max(1, min(BLOCK_VIEWS, BLOCK_BYTES // n_bytes)))
