"""One pass of the examples gives the pooled outputs of all taps of a network; graft's cache keeps them by content."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from graft import inputs
from graft.backbones import build, networks, taps
from graft.features import compute, plan
from graft.features.cache import FeatureCache, Part
from graft.inputs.batches import Read, Task
from graft.inputs.spec import USUAL
from graft.runtime.progress import track

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.features.engines.base import Forward
    from graft.inputs.spec import InputSpec

FEATURES = compute.FEATURES

POOLING, DTYPE = "avg", "float32"

TIMED_CALLS = 5


@dataclass(frozen=True)
class Passed:
    """taps: of the network. features: (n, sum of their channels) float32, tap after tap.

    seconds_per_example: through the whole network, on one thread. computed: examples that were not in the cache.
    """

    taps: list[taps.Tap]
    features: np.ndarray
    seconds_per_example: float
    computed: int

    def of(self, number: int) -> np.ndarray:
        """(n, channels) of a tap."""
        start = sum(tap.channels for tap in self.taps[:number])
        return self.features[:, start : start + self.taps[number].channels]


def run(params: Params, tasks: Sequence[Task], read: Read) -> Passed:
    """Each task's example as it is, through the network of `params.backbone`. Raises what `read` and the engine raise.

    The values are those of `extract.taps: all` with `pooling: avg` and `dtype: float32`, and so is their cache.
    """
    network = networks.of(params.backbone)
    longest = inputs.of(params).longest or 1  # a tap of a text network says what a token takes
    found = [replace(tap, stored_bytes=tap.stored_bytes * longest) for tap in taps.of(network.model)]
    loaded = replace(network, model=taps.joined(network.model, POOLING))
    return plan.on_engine(params, lambda engine: _passed(params, loaded, found, engine, tasks, read))


def _passed(
    params: Params, loaded: build.Loaded, found: list[taps.Tap], engine: str, tasks: Sequence[Task], read: Read
) -> Passed:
    """loaded: whose output is that of all its taps. Raises CannotRunError where the engine cannot run it."""
    spec = replace(plan.spec(params, engine, None), pooling=POOLING, taps=taps.ALL, dtypes={FEATURES: DTYPE})
    part = Part((sum(tap.channels for tap in found),), DTYPE)
    output = {"pooling": POOLING, "taps": taps.ALL, "widths": taps.widths(loaded.model)}
    cache = FeatureCache(plan.keys(spec, loaded, output, part)[0], part)
    keys = [(task.sha256, 0) for task in tasks]
    known = dict(zip(keys, cache.get(keys), strict=True))
    missing = {task.sha256: task for task in tasks if known[task.sha256, 0] is None}
    results = compute.computed(spec, (FEATURES,), list(missing.values()), read, loaded)
    for some, outputs in track(
        results, len(missing), f"probing {params.backbone.name}", lambda batch: len(batch[0]), f"{params.data.kind}s"
    ):
        cache.put(list(zip(some, outputs[FEATURES], strict=True)))
        known |= dict(zip(some, outputs[FEATURES], strict=True))
    features = np.stack([np.asarray(known[key]) for key in keys])
    return Passed(found, features, _seconds(compute.forward(spec, (FEATURES,), loaded), spec.inputs), len(missing))


def _blank(n: int, spec: InputSpec) -> dict[str, np.ndarray]:
    """n examples of nothing; texts of a usual length."""
    return {
        name: np.ones((n, *(size or USUAL for size in shape)), dtype)
        for name, (shape, dtype) in spec.signature().items()
    }


def _seconds(forward: Forward, spec: InputSpec) -> float:
    """Of one example on one thread: the shortest of a few calls, so that what else the machine does counts little."""
    blank = _blank(forward.batch_size, spec)
    found = []
    for _ in range(TIMED_CALLS):
        began = time.perf_counter()
        forward.run(blank)
        found.append(time.perf_counter() - began)
    return min(found) / forward.batch_size
