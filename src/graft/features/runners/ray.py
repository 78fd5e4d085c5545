"""On the machines of a Ray cluster, by Ray Data: blocks of examples go to a pool of actors, each with its own network.

Ray Data starts the actors, gives each its next blocks, and runs the blocks of an actor that died again. Results come in
the order in which they are ready, so that a slow machine or disk keeps nobody else waiting, and no more of them are
held than a few for each actor.
"""

from __future__ import annotations

import math
import os
import pickle
import socket
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from graft.errors import SurroundingsError
from graft.features.runners import cluster, worker
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.features.compute import Results
    from graft.features.runners.base import Job
    from graft.inputs.batches import Task

BLOCK_VIEWS, BLOCK_BYTES = 256, 2**26
"""A block has at most so many views, and results of so many bytes: it is what is lost where an actor dies."""

BLOCKS_EACH = 4
"""For each actor, at least, where there are enough examples; so that all of them end at nearly the same time."""

AHEAD = 2
"""Blocks that an actor has been given: one that it computes, and the next."""

HELD_BYTES = 2**28
"""For each actor: results that may wait to be written."""

STARTS = 3
"""Actors that may die one after the other as they start; with more, it is not chance."""


def run(job: Job) -> Generator[Results]:
    """In the order in which they are ready. Raises DataError where an example kills every actor that computes it."""
    ray = cluster.library()
    if job.cluster.gpus and job.plan.spec.engine != "tensorflow":
        raise SurroundingsError(
            "extract.ray.gpus: above 0, graft itself must be started on a machine with such a GPU, too, which decides "
            f"the engine (`ray job submit --entrypoint-num-gpus 0.1`). Got the {job.plan.spec.engine} engine. Start it "
            "there, or set extract.ray.gpus: 0.0."
        )
    with cluster.connected(job.cluster) as n_actors:
        try:
            tally = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Tally).remote()
            yield from _computed(ray, job, partial(_begun, tally), n_actors)
            if n_again := ray.get(tally.again.remote()):
                say(f"note: blocks of examples that were computed again, since actors died on them: {n_again}")
        except ray.exceptions.RayError as error:
            raise _wrapped(error) from None


class Tally:
    """How often each piece of work was begun: an actor, since those that die cannot remember it."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()

    def begun(self, name: str) -> int:
        """The number of times, this one included."""
        self._times[name] += 1
        return self._times[name]

    def again(self) -> int:
        """Blocks that were begun more than once."""
        return sum(times > 1 for name, times in self._times.items() if name.startswith(worker.BLOCK))


def _begun(tally: Any, name: str) -> int:
    import ray

    times: int = ray.get(tally.begun.remote(name))
    return times


def _computed(ray: Any, job: Job, begun: worker.Begun, n_actors: int) -> Iterator[Results]:
    """Raises what an actor answers."""
    _set(ray.data, n_actors)
    blocks = _blocks(job.tasks, _block_views(job, n_actors))
    most = min(n_actors, len(blocks))
    place = worker.Place(os.getcwd(), socket.gethostname(), job.cluster.cpus)
    work = worker.Work(job.plan, job.wanted, job.open_reader, begun, place)
    answers = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
        worker.Worker,
        fn_constructor_args=(work,),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(
            min_size=1, max_size=most, initial_size=most, max_tasks_in_flight_per_actor=AHEAD
        ),
        num_cpus=job.cluster.cpus,
        num_gpus=job.cluster.gpus,
    )
    # Nothing fetched ahead: it would hold back each answer until the next one comes, and a killed driver would lose it.
    for answer in answers.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
        if worker.ERROR in answer:
            raise pickle.loads(answer[worker.ERROR][0])
        keys = zip(answer[worker.SHA256].tolist(), answer[worker.VIEW].tolist(), strict=True)
        yield list(keys), {name: answer[name] for name in job.wanted}


def _set(data: Any, n_actors: int) -> None:
    """What Ray Data does beside its work: print nothing, start actors again, hold few results."""
    context = data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_consecutive_actor_init_deaths = STARTS
    context.execution_options.resource_limits = data.ExecutionResources(object_store_memory=n_actors * HELD_BYTES)


def _block_views(job: Job, n_actors: int) -> int:
    views = sum(len(task.views) for task in job.tasks)
    n_bytes = sum(job.plan.outputs[name].part.n_bytes for name in job.wanted)
    return max(1, min(BLOCK_VIEWS, BLOCK_BYTES // n_bytes, math.ceil(views / (BLOCKS_EACH * n_actors))))


def _blocks(tasks: Sequence[Task], views: int) -> list[dict[str, Any]]:
    """Rows for Ray Data: tasks that together have `views` views or a few more, pickled."""
    blocks: list[list[Task]] = []
    room = 0
    for task in tasks:
        if room <= 0:
            blocks.append([])
            room = views
        blocks[-1].append(task)
        room -= len(task.views)
    return [{worker.BLOCK: i, worker.TASKS: pickle.dumps(block)} for i, block in enumerate(blocks)]


def _wrapped(error: Exception) -> SurroundingsError:
    reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
    return SurroundingsError(
        "extract.runner: the Ray cluster must be able to run graft: the same graft installed on every machine, and "
        f"memory enough for the network. Got: {reason.strip()[:300]}. What was computed is in graft's cache; run it "
        "again, or set extract.runner: local."
    )
