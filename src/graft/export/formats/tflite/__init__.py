"""LiteRT's .tflite: resizing, if any, and network, each by TensorFlow's converter, joined to one graph.

float16 is how weights are stored. int8 is full-integer quantisation of the network: weights for each channel apart,
activations by their ranges over the calibration images; the resizing before it and the softmax behind it stay in float.
What quantisation adds to the logits on average is taken off again. Of texts int8 is of weights alone, and ranges of
activations are those of each call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.errors import GraftError, listing
from graft.runtime.cores import available

if TYPE_CHECKING:
    from graft.export.subject import Subject

FILE = "model.tflite"
PRECISIONS = ("float32", "float16", "int8")

NOT_THERE = re.compile(r"'(tf\.\w+)' op is neither a custom op nor a flex op")
"""How TensorFlow's converter names an operation that LiteRT has not."""


def write(subject: Subject, precision: str, folder: Path) -> None:
    """With the metadata of TensorFlow Lite, and labels.txt within."""
    from graft.export.formats.tflite import bias, join, metadata

    kind = subject.kind

    def whole(precision: str) -> Any:
        network = _converted(subject.frozen_network, precision, subject)
        if kind.front is None:
            return join.alone(network, kind.entry)
        return join.joined(_converted(subject.frozen_front, "float32", subject), network, kind.entry)

    model = whole(precision)
    if precision == "int8" and kind.calibrates:
        bias.correct(model, whole("float32"), subject.calibrating())
    metadata.write(model, subject.classes, subject.card, kind, folder / FILE)


def _converted(function: Any, precision: str, subject: Subject) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8" and subject.kind.calibrates:
        examples = subject.calibrating()

        def calibrating() -> Iterator[list[np.ndarray]]:
            for one in examples:
                yield [one[None].astype(np.float32)]

        converter.representative_dataset = calibrating
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    try:
        return bytes(converter.convert())
    except Exception as error:  # the converter's own, which is a bare Exception
        missing = sorted(set(NOT_THERE.findall(str(error))))
        if not missing:
            raise
        raise GraftError(
            "graft export --to tflite: the network must be of operations that LiteRT has. Got others: "
            f"{listing(missing)}. Export to onnx or openvino."
        ) from None


def load(folder: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / FILE), num_threads=threads or available())
    entry, exit_ = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    shape: tuple[int, ...] = ()

    def run(examples: np.ndarray) -> np.ndarray:
        nonlocal shape
        if examples.shape != shape:
            shape = examples.shape
            interpreter.resize_tensor_input(entry, shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(entry, examples)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(exit_))

    return run
