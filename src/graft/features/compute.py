"""From the bytes of examples to features and activations.

`Spec` holds everything that this needs and can be pickled: another process or machine computes the same from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graft.backbones import build, taps
from graft.errors import BackboneError
from graft.features.engines import ENGINES, portable
from graft.inputs.batches import Key, Read, Task, lengthened, of_one_shape, rows, stacked
from graft.inputs.spec import InputSpec
from graft.runtime.cores import available
from graft.runtime.reading.prefetch import prefetched

if TYPE_CHECKING:
    from graft.config.schema import BackboneParams
    from graft.features.engines.base import Forward

FEATURES, ACTIVATIONS = build.FEATURES, build.ACTIVATIONS

WAITING = 2
"""Threads beyond one for each core: a thread reads, decodes and computes its examples, and some wait for a disk."""

CALLS_AT_A_TIME = 16
"""Calls whose examples a thread has at a time where they differ in length, and are sorted into calls by it."""

Results = tuple[list[Key], dict[str, np.ndarray]]
"""What each row is, and output name -> (rows, ...) in the dtype that is stored."""


@dataclass(frozen=True)
class Spec:
    """How to compute. cut: a layer's name, None where no activations are wanted. dtypes: output -> as it is stored.

    taps: of which layers the features are, as `extract.taps` has it.
    """

    backbone: BackboneParams
    inputs: InputSpec
    pooling: str | None
    taps: str
    cut: str | None
    dtypes: Mapping[str, str]
    engine: str
    precision: str
    numerics: str
    batch_size: int | None

    @property
    def uncapped_is_equal(self) -> bool:
        """Whether this network gives the same bytes with every instruction set, so that none must be held back.

        Known of a network's output and of what crosses at its cuts, not of the pooled outputs within.
        """
        name, width = self.backbone.name, self.backbone.width
        return self.taps == taps.NONE and portable.uncapped_is_equal(name, width, self.engine, self.precision)


def device(engine: str) -> str:
    """What kind of processor an engine computes on, with a GPU's name."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU") if engine == "tensorflow" else []
    names = sorted({tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus})
    return " and ".join(names) or "CPU"


def shapes(
    loaded: build.Loaded, pooling: str | None, cut: str | None, longest: int | None = None
) -> dict[str, tuple[int, ...]]:
    """output -> shape for one view of one example. longest: as `InputSpec.longest`; shorter ones have zeros behind."""
    names = (FEATURES, ACTIVATIONS) if cut else (FEATURES,)
    network = build.feature_model(loaded, pooling, cut, names)
    return {
        name: tuple(size or longest or 0 for size in output.shape[1:])
        for name, output in zip(names, network.outputs, strict=True)
    }


def computed(
    spec: Spec, wanted: Sequence[str], tasks: Sequence[Task], read: Read, loaded: build.Loaded | None = None
) -> Iterator[Results]:
    """`wanted` outputs of each view of `tasks`, in order; threads take examples from bytes to values side by side.

    One thread for all steps of an example: a second for decoding would take its core from one that computes.

    loaded: the network of `spec.backbone`, where it is built already. Raises BackboneError where a value is no number
    or does not fit its dtype, CannotRunError where the engine cannot run the network, and what `read` raises.
    """
    engine = forward(spec, wanted, loaded or taps.built(spec.backbone, spec.pooling, spec.taps))
    size = spec.batch_size or engine.batch_size

    def run(some: Sequence[Task]) -> Results:
        calls = [
            stacked(batch) for batch in of_one_shape((row for t in some for row in rows(spec.inputs, read, t)), size)
        ]
        outputs = zip(*(engine.run(arrays) for _, arrays in calls), strict=True)
        return [key for keys, _ in calls for key in keys], {
            name: _stored(_joined(parts, spec.inputs.longest), spec.dtypes[name], spec.backbone.name)
            for name, parts in zip(wanted, outputs, strict=True)
        }

    threads = available() + WAITING
    return prefetched(run, _groups(tasks, at_a_time(spec.inputs, size)), threads, 2 * threads)


def at_a_time(inputs: InputSpec, size: int) -> int:
    """Examples that a thread takes together. size: of a call."""
    return size if inputs.longest is None else CALLS_AT_A_TIME * size


def _joined(parts: Sequence[np.ndarray], longest: int | None) -> np.ndarray:
    """(n, ...) of all calls; what has a length has zeros behind it, up to `longest`."""
    if longest is not None and parts[0].ndim > 2:
        parts = [lengthened(part, longest, axis=1) for part in parts]
    return np.concatenate(parts)


def _groups(tasks: Sequence[Task], size: int) -> Iterator[list[Task]]:
    """Tasks that together have `size` views or a few more."""
    group: list[Task] = []
    for task in tasks:
        group.append(task)
        if sum(len(one.views) for one in group) >= size:
            yield group
            group = []
    if group:
        yield group


def forward(spec: Spec, wanted: Sequence[str], loaded: build.Loaded) -> Forward:
    """`wanted` outputs of a network on the engine of `spec`. Raises CannotRunError where it cannot run it."""
    network = build.feature_model(loaded, spec.pooling, spec.cut, wanted)
    capped = spec.numerics == "portable" and not spec.uncapped_is_equal
    return ENGINES[spec.engine](network, spec.inputs.signature(), spec.precision, capped)


def _stored(output: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """An engine's output as it is stored. Raises BackboneError where it is not finite."""
    if not np.isfinite(output).all():
        raise BackboneError(
            f"backbone.weights: {name} gives features that are no numbers; the weights are damaged, or not its own."
        )
    with np.errstate(over="ignore"):
        stored = output.astype(dtype)
    if not np.isfinite(stored).all():
        raise BackboneError(
            f"{name} gives values up to {np.abs(output).max():.3g}, which float16 cannot hold (65,504 at most). "
            "Set extract.dtype: float32 for features; for the activations at finetune.cut, choose another cut."
        )
    return stored
