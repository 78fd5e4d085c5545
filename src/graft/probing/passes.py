"""One pass of the images gives the pooled outputs of all taps of a network; graft's cache keeps them by content."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graft import inputs
from graft.backbones import build, portable
from graft.errors import BackboneError
from graft.features import compute, engines
from graft.features.cache import FeatureCache, Part
from graft.features.plan import LIBRARIES
from graft.inputs.batches import Key, Read, Task, rows, stacked
from graft.pipeline import code
from graft.probing import taps
from graft.runtime import numerics
from graft.runtime.cores import available
from graft.runtime.prefetch import prefetched
from graft.runtime.progress import track

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.features.engines.base import Forward
    from graft.inputs.spec import InputSpec

TIMED_CALLS = 5


@dataclass(frozen=True)
class Passed:
    """taps: of the network. features: (n, sum of their channels) float32, tap after tap.

    seconds_per_image: through the whole network, on one thread. computed: images that were not in the cache.
    """

    taps: list[taps.Tap]
    features: np.ndarray
    seconds_per_image: float
    computed: int

    def of(self, number: int) -> np.ndarray:
        """(n, channels) of a tap."""
        start = sum(tap.channels for tap in self.taps[:number])
        return self.features[:, start : start + self.taps[number].channels]


def run(params: Params, tasks: Sequence[Task], read: Read) -> Passed:
    """Each task's image as it is, through the network of `params.backbone`. Raises what `read` and the engine raise."""
    loaded = build.of(params.backbone)
    found = taps.of(loaded.model)
    same = portable.depends_on(params.backbone.name, params.backbone.width) != portable.NONE
    engine = engines.resolve(params.extract.engine, params.numerics, same)
    uncapped = portable.uncapped_is_equal(params.backbone.name, params.backbone.width, engine, "float32")
    capped = params.numerics == "portable" and not uncapped
    spec = inputs.of(params)
    forward = engines.ENGINES[engine](taps.model(loaded, found), spec.signature(), "float32", capped)

    width = sum(tap.channels for tap in found)
    cache = FeatureCache(_key(params, loaded, found, engine, uncapped), Part((width,), "float32"))
    keys = [(task.sha256, 0) for task in tasks]
    known = dict(zip(keys, cache.get(keys), strict=True))
    missing = {task.sha256: task for task in tasks if known[task.sha256, 0] is None}
    results = _computed(forward, spec, list(missing.values()), read)
    for some, values in track(results, len(missing), f"probing {params.backbone.name}", lambda batch: len(batch[0])):
        if not np.isfinite(values).all():
            raise BackboneError(f"backbone.weights: {params.backbone.name} gives features that are no numbers.")
        cache.put(list(zip(some, values, strict=True)))
        known |= dict(zip(some, values, strict=True))
    features = np.stack([np.asarray(known[key]) for key in keys])
    return Passed(found, features, _seconds(forward, spec), len(missing))


def _computed(
    forward: Forward, spec: InputSpec, tasks: Sequence[Task], read: Read
) -> Iterator[tuple[list[Key], np.ndarray]]:
    """As `features.compute.computed`: a thread takes its images from bytes to values."""

    def work(some: Sequence[Task]) -> tuple[list[Key], np.ndarray]:
        keys, arrays = stacked([row for task in some for row in rows(spec, read, task)])
        return keys, forward.run(arrays)[0]

    size = forward.batch_size
    groups = (tasks[start : start + size] for start in range(0, len(tasks), size))
    threads = available() + compute.WAITING
    return prefetched(work, groups, threads, 2 * threads)


def _seconds(forward: Forward, spec: InputSpec) -> float:
    """Of one image on one thread: the shortest of a few calls, so that what else the machine does counts little."""
    blank = {name: np.zeros((forward.batch_size, *shape), dtype) for name, (shape, dtype) in spec.signature().items()}
    found = []
    for _ in range(TIMED_CALLS):
        began = time.perf_counter()
        forward.run(blank)
        found.append(time.perf_counter() - began)
    return min(found) / forward.batch_size


def _key(
    params: Params, loaded: build.Loaded, found: list[taps.Tap], engine: str, uncapped_is_equal: bool
) -> dict[str, Any]:
    """Everything that an image's values depend on beside its bytes, as `features.plan` has it."""
    from importlib.metadata import version

    spec = inputs.of(params)
    modules = (taps.__name__, f"{code.PACKAGE}.features.engines.{engine}", type(spec).__module__)
    return {
        "backbone": asdict(loaded.row),
        "alpha": params.backbone.width,
        "weights_sha256": loaded.weights_sha256,
        "engine": engine,
        "precision": "float32",
        "output": {"taps": [tap.layer for tap in found]},
        "shape": [sum(tap.channels for tap in found)],
        "dtype": "float32",
        "instruction_set": numerics.instruction_set(params.numerics, uncapped_is_equal),
        "device": compute.device(engine),
        "code": code.digest(modules),
        "libraries": {name: version(name) for name in (*LIBRARIES, engine)},
        "input": spec.fingerprint(False),
    }
