"""From the bytes of examples to features and activations.

`Spec` holds everything that this needs and can be pickled: another process or machine computes the same from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graft.backbones import build, portable
from graft.errors import BackboneError
from graft.features.engines import ENGINES
from graft.inputs.batches import Key, Read, Task, batches
from graft.inputs.spec import Arrays, InputSpec
from graft.runtime.prefetch import prefetched

if TYPE_CHECKING:
    from graft.config.schema import BackboneParams
    from graft.features.engines.base import Forward

FEATURES, ACTIVATIONS = build.FEATURES, build.ACTIVATIONS

Results = tuple[list[Key], dict[str, np.ndarray]]
"""What each row is, and output name -> (rows, ...) in the dtype that is stored."""


@dataclass(frozen=True)
class Spec:
    """How to compute. cut: a layer's name, None where no activations are wanted. dtypes: output -> as it is stored."""

    backbone: BackboneParams
    inputs: InputSpec
    pooling: str | None
    cut: str | None
    dtypes: Mapping[str, str]
    engine: str
    precision: str
    numerics: str
    batch_size: int | None

    @property
    def uncapped_is_equal(self) -> bool:
        """Whether this network gives the same bytes with every instruction set, so that none must be held back."""
        return portable.uncapped_is_equal(self.backbone.name, self.backbone.alpha, self.engine, self.precision)


def device(engine: str) -> str:
    """What kind of processor an engine computes on, with a GPU's name."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU") if engine == "tensorflow" else []
    names = sorted({tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus})
    return " and ".join(names) or "CPU"


def shapes(loaded: build.Loaded, pooling: str | None, cut: str | None) -> dict[str, tuple[int, ...]]:
    """output -> shape for one view of one example."""
    names = (FEATURES, ACTIVATIONS) if cut else (FEATURES,)
    network = build.feature_model(loaded, pooling, cut, names)
    return {name: tuple(output.shape[1:]) for name, output in zip(names, network.outputs, strict=True)}


def computed(
    spec: Spec, wanted: Sequence[str], tasks: Sequence[Task], read: Read, loaded: build.Loaded | None = None
) -> Iterator[Results]:
    """`wanted` outputs of each view of `tasks`, in order; batches are computed side by side.

    loaded: the network of `spec.backbone`, where it is built already. Raises BackboneError where a value is no number
    or does not fit its dtype, CannotRunError where the engine cannot run the network, and what `read` raises.
    """
    forward = _forward(spec, wanted, loaded or build.of(spec.backbone))

    def run(batch: tuple[list[Key], Arrays]) -> Results:
        keys, arrays = batch
        outputs = forward.run(arrays)
        return keys, {
            name: _stored(output, spec.dtypes[name], spec.backbone.name)
            for name, output in zip(wanted, outputs, strict=True)
        }

    ahead = batches(spec.inputs, read, tasks, spec.batch_size or forward.batch_size)
    return prefetched(run, ahead, forward.streams, forward.streams + 1)


def _forward(spec: Spec, wanted: Sequence[str], loaded: build.Loaded) -> Forward:
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
