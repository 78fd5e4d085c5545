"""Ways to compute features. To add an engine, add a row."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.errors import BackboneError
from graft.progress import say

if TYPE_CHECKING:
    import keras

Forward = Callable[[np.ndarray], np.ndarray]
"""uint8 pixels (n, side, side, 3) -> float32 features (n, ...)."""

Engine = Callable[["keras.Model", str], Forward]
"""(model on pixels in [0, 255], precision: float32 or bfloat16) -> Forward. Raises RuntimeError where it cannot."""


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
        raise RuntimeError(f"the tensorflow engine computes in float32 only, not in {precision}")
    frozen = _frozen(model)

    def forward(pixels: np.ndarray) -> np.ndarray:
        output = frozen(tf.constant(pixels))
        return np.asarray((output[0] if isinstance(output, list | tuple) else output).numpy())

    return forward


def openvino(model: keras.Model, precision: str) -> Forward:
    """The same graph, compiled by OpenVINO for the CPU: about twice as fast again, more with bfloat16.

    Read as a file by OpenVINO's TensorFlow frontend: its Python converter reports its use over the network.
    """
    from openvino import Core

    core = Core()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.pb"
        file.write_bytes(_frozen(model).graph.as_graph_def().SerializeToString())
        hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
        compiled = core.compile_model(
            str(file), "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        )
    request = compiled.create_infer_request()

    def forward(pixels: np.ndarray) -> np.ndarray:
        return np.array(request.infer(pixels)[0], np.float32)

    return forward


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


def instead(wanted: str, failed: str, precision: str, error: RuntimeError) -> str:
    """The engine to use where `failed` cannot run a network, after a word; raises BackboneError where there is none."""
    reason = " ".join(str(error).split())[:300]
    if wanted == "auto" and failed == "openvino" and precision == "float32":
        say(f"note: OpenVINO cannot run this network ({reason}); using the tensorflow engine")
        return "tensorflow"
    raise BackboneError(
        f"extract.engine: {failed} must be able to run the network in {precision}. Got: {reason}. "
        "Set extract.engine: tensorflow and extract.precision: float32."
    ) from None


def build(wanted: str, model: keras.Model, precision: str = "float32") -> Forward:
    """The model on an engine; as `resolve` and `instead` say."""
    name = resolve(wanted)
    try:
        return ENGINES[name](model, precision)
    except RuntimeError as error:
        return ENGINES[instead(wanted, name, precision, error)](model, precision)
