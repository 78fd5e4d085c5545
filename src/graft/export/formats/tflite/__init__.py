"""LiteRT's .tflite: resizing and network, each by TensorFlow's converter, joined to one graph.

float16 is how weights are stored. int8 is full-integer quantisation of the network: weights for each channel apart,
activations by their ranges over the calibration images; the resizing before it and the softmax behind it stay in float.
What quantisation adds to the logits on average is taken off again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.runtime.cores import available

if TYPE_CHECKING:
    from graft.export.subject import Subject

FILE = "model.tflite"
PRECISIONS = ("float32", "float16", "int8")


def write(subject: Subject, precision: str, folder: Path) -> None:
    """With the metadata of TensorFlow Lite, and labels.txt within."""
    from graft.export.formats.tflite import bias, join, metadata

    resizing = _converted(subject.frozen_resizer, "float32", subject)
    joined = join.joined(resizing, _converted(subject.frozen_network, precision, subject))
    if precision == "int8":
        original = join.joined(resizing, _converted(subject.frozen_network, "float32", subject))
        bias.correct(joined, original, subject.squares())
    metadata.write(joined, subject.classes, subject.card, folder / FILE)


def _converted(function: Any, precision: str, subject: Subject) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        squares = subject.squares()

        def calibrating() -> Iterator[list[np.ndarray]]:
            for one in squares:
                yield [one[None].astype(np.float32)]

        converter.representative_dataset = calibrating
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def load(folder: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / FILE), num_threads=threads or available())
    entry, exit_ = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    shape: tuple[int, ...] = ()

    def run(images: np.ndarray) -> np.ndarray:
        nonlocal shape
        if images.shape != shape:
            shape = images.shape
            interpreter.resize_tensor_input(entry, shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(entry, images)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(exit_))

    return run
