"""What a process that solves a head with others does: runs of blocks, as `convex.system` wants them worked on.

Nothing here knows Ray.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np

from graft.cluster import same
from graft.cluster.worker import TRIES, Columns
from graft.convex import blocks, system
from graft.convex.system import Problem
from graft.errors import GraftError, SurroundingsError
from graft.models import solved
from graft.models.runners.base import Job
from graft.pipeline import code
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow

ANSWER = "answer"
"""The column of an answer: what is made of a run, pickled."""

LIBRARIES = ("keras", "tensorflow", "numpy")
"""Whose versions late decimals depend on."""


def made_with(numerics_: str) -> dict[str, Any]:
    """What sums of this process depend on beside the features. numerics_: of params.yaml."""
    return {
        "code": code.digest([solved.__name__]),
        "libraries": {name: version(name) for name in LIBRARIES},
        "instructions": numerics.instruction_set(numerics_, uncapped_is_equal=False),
        "products": blocks.library(),
    }


@dataclass(frozen=True)
class Solving:
    """Work of a cluster whose items are runs: slices of the examples.

    rows: of the features, those of each example. targets, weights, n_classes: as of a `Problem`. work, join: as of a
    `system.Runner`. made_with: of the process that asks.
    """

    job: Job
    rows: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    n_classes: int
    work: Callable[[Problem, slice], Any]
    join: Callable[[Iterator[Any]], Any]
    made_with: Mapping[str, Any]

    errors: ClassVar[tuple[type[Exception], ...]] = (GraftError,)
    shared: ClassVar[str] = "The project's folder must lead to the same data/features on each of them."

    def begin(self) -> Callable[[Sequence[slice]], Columns]:
        numerics.apply(self.job.numerics)
        same.require(self.made_with, made_with(self.job.numerics))
        features = self.job.open_features()
        if solved.are_maps(features):
            start_tensorflow()
        read = solved.reader(self.job.build_head, features, features.every)
        given = system.problem(lambda part: read(self.rows[part]), self.targets, self.weights, self.n_classes)

        def of_runs(runs: Sequence[slice]) -> Columns:
            with blocks.one_thread():
                answers = [self.join(given.each(partial(self.work, given), run)) for run in runs]
            return {ANSWER: np.array([pickle.dumps(one) for one in answers], object)}

        return of_runs

    def name(self, item: slice) -> str:
        return str(item)

    def died(self, item: slice) -> GraftError:
        return SurroundingsError(
            f"train.runner: examples {item.start} to {item.stop} of the training must be such that a process can work "
            f"on them. Got: {TRIES} processes that died on them, out of memory or by a fault of a library. Give each "
            "more memory (fewer ray.actors on a machine), or set train.runner: local."
        )
