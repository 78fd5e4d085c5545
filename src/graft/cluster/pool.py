"""Blocks of work on the machines of a Ray cluster, by Ray Data: they go to a pool of actors, a worker in each.

Ray Data starts the actors, gives each its next blocks, and runs the blocks of an actor that died again. No more answers
are held than a few for each actor.
"""

from __future__ import annotations

import math
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from graft.cluster import connection, worker
from graft.cluster.worker import Columns, Place, Work
from graft.errors import SurroundingsError
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.config.schema import RayParams

Item = TypeVar("Item")

BLOCKS_EACH = 4
"""For each actor, at least, where there are enough items; so that all of them end at nearly the same time."""

AHEAD = 2
"""Blocks that an actor has been given: one that it works on, and the next."""

HELD_BYTES = 2**28
"""For each actor: answers that may wait to be taken."""

STARTS = 3
"""Actors that may die one after the other as they start; with more, it is not chance."""


@dataclass(frozen=True)
class Pool:
    """Actors, started for each call of `answers`. key: of params.yaml, which asks for them. cluster: its `ray`."""

    key: str
    cluster: RayParams
    n_actors: int

    def share(self, size: int, most: int) -> int:
        """Of items that are so large together, how large a block is: `most`, or less where there are few."""
        return max(1, min(most, math.ceil(size / (BLOCKS_EACH * self.n_actors))))

    def answers(
        self, work: Work, blocks: Sequence[Sequence[Any]], ordered: bool = False, environment: Mapping[str, str] = {}
    ) -> Iterator[Columns]:
        """What the workers say of each block: as soon as it is known, or in the order of the blocks.

        In order, blocks that are ready early wait, and while they take what answers may, none is begun. environment:
        variables that are set before an actor starts. Raises what a worker answers, and SurroundingsError where the
        cluster fails.
        """
        ray = connection.library(self.key)
        try:
            tally = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Tally).remote()
            begun = partial(_begun, tally)
            yield from self._answers(ray, work, begun, blocks, ordered, environment)
            if n_again := ray.get(tally.again.remote()):
                say(f"note: blocks that were worked on again, since actors died on them: {n_again}")
        except ray.exceptions.RayError as error:
            raise _wrapped(self.key, error) from None

    def _answers(
        self,
        ray: Any,
        work: Work,
        begun: worker.Begun,
        blocks: Sequence[Sequence[Any]],
        ordered: bool,
        environment: Mapping[str, str],
    ) -> Iterator[Columns]:
        _set(ray.data, self.n_actors, ordered)
        most = min(self.n_actors, len(blocks))
        rows = [{worker.BLOCK: i, worker.ITEMS: pickle.dumps(block)} for i, block in enumerate(blocks)]
        # A process of its own for an environment of its own takes longer to start.
        more = {"runtime_env": {"env_vars": dict(environment)}} if environment else {}
        answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            worker.Worker,
            fn_constructor_args=(work, begun, Place.here(self.cluster.cpus)),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=most, initial_size=most, max_tasks_in_flight_per_actor=AHEAD
            ),
            num_cpus=self.cluster.cpus,
            num_gpus=self.cluster.gpus,
            **more,
        )
        # Nothing fetched ahead: it would hold back each answer until the next comes, and a killed driver would lose it.
        for answer in answers.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            if worker.ERROR in answer:
                raise pickle.loads(answer[worker.ERROR][0])
            yield answer


@contextmanager
def opened(key: str, cluster: RayParams) -> Iterator[Pool]:
    """key, cluster: as in Pool. Raises what `connection.connected` raises."""
    with connection.connected(key, cluster) as n_actors:
        yield Pool(key, cluster, n_actors)


def in_blocks(items: Iterable[Item], size: int, size_of: Callable[[Item], int] = lambda _: 1) -> list[list[Item]]:
    """Items one after the other, in blocks of `size` together, or a little more where one item is larger than 1."""
    blocks: list[list[Item]] = []
    room = 0
    for item in items:
        if room <= 0:
            blocks.append([])
            room = size
        blocks[-1].append(item)
        room -= size_of(item)
    return blocks


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


def _set(data: Any, n_actors: int, ordered: bool) -> None:
    """What Ray Data does beside its work: print nothing, start actors again, hold few answers."""
    context = data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_consecutive_actor_init_deaths = STARTS
    context.execution_options.preserve_order = ordered
    context.execution_options.resource_limits = data.ExecutionResources(object_store_memory=n_actors * HELD_BYTES)


def _wrapped(key: str, error: Exception) -> SurroundingsError:
    reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
    return SurroundingsError(
        f"{key}: the Ray cluster must be able to run graft: the same graft installed on every machine, and memory "
        f"enough for the network. Got: {reason.strip()[:300]}. What examples were found to be, and their features, are "
        f"in graft's cache; run it again, or set {key}: local."
    )
