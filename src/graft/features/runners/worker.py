"""What a process that computes features for another does: it builds the network once, then computes what it is given.

Nothing here knows Ray.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from graft.cluster import same
from graft.cluster.worker import TRIES, Columns
from graft.errors import DataError, GraftError
from graft.features import compute, engines, plan
from graft.features.engines.base import CannotRunError
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow

if TYPE_CHECKING:
    from graft.backbones.build import Loaded
    from graft.features.plan import Plan
    from graft.inputs.batches import Read, Task

SHA256, VIEW = "sha256", "view"
"""Columns of an answer, beside one for each output."""

SHARED_GPU = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
"""TensorFlow takes what it needs of a GPU, not all that there is: processes share one."""


@dataclass(frozen=True)
class Extraction:
    """Work of a cluster whose items are tasks. plan, wanted, open_reader: as in `base.Job`."""

    plan: Plan
    wanted: Sequence[str]
    open_reader: Callable[[], Read]

    errors: ClassVar[tuple[type[Exception], ...]] = (GraftError, CannotRunError)
    shared: ClassVar[str] = "data.path must lead to the same examples on each of them."

    def begin(self) -> Callable[[Sequence[Task]], Columns]:
        spec = self.plan.spec
        os.environ |= SHARED_GPU
        numerics.apply(spec.numerics)
        start_tensorflow()
        from graft.backbones import networks

        loaded = networks.built(spec.backbone, spec.pooling, spec.taps)
        self._require_same(loaded)
        # Compiled once; `computed` would do it for every block.
        spec = replace(spec, engine=engines.ready(compute.forward(spec, self.wanted, loaded)))
        read = self.open_reader()

        def computed(tasks: Sequence[Task]) -> Columns:
            keys, parts = [], []
            for some, outputs in compute.computed(spec, self.wanted, tasks, read, loaded):
                keys += some
                parts.append(outputs)
            return {
                SHA256: np.array([sha256 for sha256, _ in keys]),
                VIEW: np.array([view for _, view in keys]),
                **{name: np.concatenate([one[name] for one in parts]) for name in self.wanted},
            }

        return computed

    def _require_same(self, loaded: Loaded) -> None:
        """Raises SurroundingsError where values computed here would not be what the cache's keys say of them."""
        for name in self.wanted:
            output = self.plan.outputs[name]
            found = plan.keys(self.plan.spec, loaded, output.meta.output, output.part)
            for wanted, here in zip(output.keys, found, strict=True):
                same.require(wanted, here)

    def name(self, item: Task) -> str:
        return item.sha256

    def died(self, item: Task) -> GraftError:
        return DataError(
            f"{item.path}: must be an example that can be computed. Got: {TRIES} processes that died on it, out of "
            "memory or by a fault of a library. Look at it, or take it out of data.path; what else was computed is in "
            "graft's cache."
        )
