"""What a process that computes features for another does: it builds the network once, then takes block after block.

It is told everything as it starts. An error that the user can mend is an answer like any other, so that the process
that asked can raise it as its own. Nothing here knows Ray.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.errors import DataError, GraftError, StaleError
from graft.features import compute, engines
from graft.features.engines.base import CannotRunError
from graft.features.runners import same
from graft.runtime import cores
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow

if TYPE_CHECKING:
    from graft.features.plan import Plan
    from graft.inputs.batches import Read, Task

BLOCK, TASKS = "block", "tasks"
"""Columns of what a worker is given, one row: the block's number, and its tasks, pickled."""

SHA256, VIEW, ERROR = "sha256", "view", "error"
"""Columns of its answer, beside one for each output; or an error alone, pickled."""

TRIES = 3
"""An example on which so many processes died is not tried once more."""

SHARED_GPU = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
"""TensorFlow takes what it needs of a GPU, not all that there is: processes share one."""

Begun = Callable[[str], int]
"""Told what is begun, it gives how often that was, in all processes together."""


@dataclass(frozen=True)
class Place:
    """folder: of the project, where paths in params.yaml start. machine: of the process that asks. threads: of each
    worker."""

    folder: str
    machine: str
    threads: int


@dataclass(frozen=True)
class Work:
    """What a worker is told; it can be pickled. plan, wanted, open_reader: as in `base.Job`."""

    plan: Plan
    wanted: Sequence[str]
    open_reader: Callable[[], Read]
    begun: Begun
    place: Place


class Worker:
    """Computes blocks of tasks. What keeps it from starting is its answer to every block."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._fault: Exception | None = None
        try:
            self._start(work)
        except (GraftError, CannotRunError) as error:
            self._fault = error

    def _start(self, work: Work) -> None:
        spec, place = work.plan.spec, work.place
        os.environ |= SHARED_GPU | {cores.VARIABLE: str(place.threads)}
        numerics.apply(spec.numerics)
        start_tensorflow()
        if Path(place.folder).is_dir():  # else this is another machine, where only whole paths lead anywhere
            os.chdir(place.folder)
        from graft.backbones import networks

        self._loaded = networks.built(spec.backbone, spec.pooling, spec.taps)
        same.require(work.plan, work.wanted, self._loaded)
        # Compiled once; `computed` would do it for every block.
        engine = engines.ready(compute.forward(spec, work.wanted, self._loaded))
        self._spec = replace(spec, engine=engine)
        self._read = work.open_reader()

    def __call__(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a block's tasks and what they are of; or an error."""
        try:
            if self._fault is not None:
                raise self._fault
            return self._answer(f"{BLOCK} {given[BLOCK][0]}", pickle.loads(given[TASKS][0]))
        except (GraftError, CannotRunError) as error:
            return {ERROR: np.array([pickle.dumps(_with_machine(error, self._work.place))], object)}

    def _answer(self, name: str, tasks: Sequence[Task]) -> dict[str, np.ndarray]:
        again = self._work.begun(name) > 1
        keys, parts = [], []
        for some, outputs in self._one_by_one(tasks) if again else self._computed(tasks):
            keys += some
            parts.append(outputs)
        return {
            SHA256: np.array([sha256 for sha256, _ in keys]),
            VIEW: np.array([view for _, view in keys]),
            **{wanted: np.concatenate([one[wanted] for one in parts]) for wanted in self._work.wanted},
        }

    def _computed(self, tasks: Sequence[Task]) -> Iterator[compute.Results]:
        return compute.computed(self._spec, self._work.wanted, tasks, self._read, self._loaded)

    def _one_by_one(self, tasks: Sequence[Task]) -> Iterator[compute.Results]:
        """A process died on these: if one of them was the reason, that shows. Raises DataError, naming it."""
        for task in tasks:
            if self._work.begun(task.sha256) > TRIES:
                raise DataError(
                    f"{task.path}: must be an example that can be computed. Got: {TRIES} processes that died on it, "
                    "out of memory or by a fault of a library. Look at it, or take it out of data.path; what else was "
                    "computed is in graft's cache."
                )
            yield from self._computed([task])


def _with_machine(error: Exception, place: Place) -> Exception:
    """The same; where it was on another machine, saying on which."""
    here = socket.gethostname()
    if here == place.machine:
        return error
    where = f"That was on {here}, a machine of the Ray cluster."
    if isinstance(error, (StaleError, DataError)):
        where += " data.path must lead to the same examples on each of them."
    return type(error)(f"{error} {where}")
