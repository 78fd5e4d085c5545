"""Ways to compute features. To add an engine, add a row."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from graft.ahead import ahead
from graft.errors import BackboneError
from graft.progress import say

if TYPE_CHECKING:
    import keras

T = TypeVar("T")


class CannotRunError(Exception):
    """An engine cannot run a network, or not in this precision."""


@dataclass(frozen=True)
class Forward:
    """A network on an engine.

    run: uint8 pixels (n, side, side, 3) -> a float32 array (n, ...) for each output of the model.
    streams: threads that may call it at a time; as many keep it busy.
    """

    run: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    streams: int = 1


Engine = Callable[["keras.Model", str], Forward]
"""(model on pixels in [0, 255], precision: float32 or bfloat16) -> Forward. Raises CannotRunError."""


def _frozen(model: keras.Model) -> Any:
    """The model as a graph on uint8 pixels, its weights constants of it."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)

    @tf.function  # type: ignore[untyped-decorator]
    def run(pixels: tf.Tensor) -> tf.Tensor:
        return model(tf.cast(pixels, tf.float32), training=False)

    return convert_variables_to_constants_v2(run.get_concrete_function(signature))


def tensorflow(model: keras.Model, precision: str) -> Forward:
    """The graph with its weights frozen to constants: 2.6 times the speed of `model.predict` on a CPU."""
    import tensorflow as tf

    if precision != "float32":
        raise CannotRunError(f"the tensorflow engine computes in float32 only, not in {precision}")
    frozen = _frozen(model)

    def run(pixels: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.asarray(output.numpy()) for output in frozen(tf.constant(pixels)))

    return Forward(run)


def openvino(model: keras.Model, precision: str) -> Forward:
    """The same graph, compiled by OpenVINO for the CPU: about twice as fast again, more with bfloat16.

    One stream a core: cores that share an image would wait for each other while others decode.
    Read as a file by OpenVINO's TensorFlow frontend: its Python converter reports its use over the network.
    """
    from openvino import Core

    core = Core()
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.pb"
        frozen = _frozen(model)
        file.write_bytes(frozen.graph.as_graph_def().SerializeToString())
        try:
            compiled = core.compile_model(
                str(file), "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "THROUGHPUT"}
            )
            ports = [compiled.output(tensor.name) for tensor in frozen.outputs]
            compiled(np.zeros((1, *model.input_shape[1:]), np.uint8))
        except RuntimeError as error:
            raise CannotRunError(str(error)) from None
    requests = threading.local()

    def run(pixels: np.ndarray) -> tuple[np.ndarray, ...]:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        found = requests.own.infer(pixels)
        return tuple(np.array(found[port], np.float32) for port in ports)

    return Forward(run, streams=compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))


ENGINES: dict[str, Engine] = {
    "tensorflow": tensorflow,
    "openvino": openvino,
}


def resolve(wanted: str) -> str:
    """A name of ENGINES. wanted: one, or auto: openvino on a CPU, tensorflow where there is a GPU."""
    import tensorflow as tf

    if wanted != "auto":
        return wanted
    return "tensorflow" if tf.config.list_physical_devices("GPU") else "openvino"


def instead(wanted: str, failed: str, precision: str, error: CannotRunError) -> str:
    """The engine to use where `failed` cannot run a network, after a word; raises BackboneError where there is none."""
    reason = " ".join(str(error).split())[:300]
    if wanted == "auto" and failed == "openvino" and precision == "float32":
        say(f"note: OpenVINO cannot run this network ({reason}); using the tensorflow engine")
        return "tensorflow"
    raise BackboneError(
        f"extract.engine: {failed} must be able to run the network in {precision}. Got: {reason}. "
        "Set extract.engine: tensorflow and extract.precision: float32."
    ) from None


def mapped(forward: Forward, batches: Iterable[tuple[T, np.ndarray]]) -> Iterator[tuple[T, tuple[np.ndarray, ...]]]:
    """The outputs for each batch of pixels, in order, as many batches at a time as the engine has streams."""

    def run(batch: tuple[T, np.ndarray]) -> tuple[T, tuple[np.ndarray, ...]]:
        what, pixels = batch
        return what, forward.run(pixels)

    return ahead(run, batches, forward.streams, forward.streams + 1)
