"""Formats of exported models. To add one, add a module with the same names, a row, and the name in `schema.Export*`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.errors import SurroundingsError, listing
from graft.export.formats import keras, onnx, openvino, saved_model, tflite

if TYPE_CHECKING:
    from graft.export.subject import Subject

Run = Callable[[np.ndarray], np.ndarray]
"""Images (n, h, w, 3) uint8, of any size -> probabilities (n, n_classes) float32."""


@dataclass(frozen=True)
class Format:
    """file: what a runtime is given, in the export's folder.

    precisions: those it can be written in. needs: the modules it wants. write(subject, precision, folder).
    load(folder, threads): in its own runtime, on so many threads; None for all. TensorFlow's
        runtimes have as many as the process was started with.
    """

    file: str
    precisions: Sequence[str]
    needs: Sequence[str]
    write: Callable[[Subject, str, Path], None]
    load: Callable[[Path, int | None], Run]

    def require(self, name: str) -> None:
        """Raises SurroundingsError where a library is missing."""
        missing = [module for module in self.needs if find_spec(module) is None]
        if missing:
            raise SurroundingsError(
                f"graft export --to {name}: needs {listing(missing)}, which this environment lacks. "
                "Run `pip install graft-transfer[export]`."
            )


FORMATS: dict[str, Format] = {
    "tflite": Format(tflite.FILE, tflite.PRECISIONS, ("ai_edge_litert", "tensorflow"), tflite.write, tflite.load),
    "onnx": Format(onnx.FILE, onnx.PRECISIONS, ("onnx", "tf2onnx", "onnxruntime"), onnx.write, onnx.load),
    "openvino": Format(
        openvino.FILE, openvino.PRECISIONS, ("onnx", "tf2onnx", "onnxruntime"), openvino.write, openvino.load
    ),
    "saved_model": Format(saved_model.FILE, saved_model.PRECISIONS, (), saved_model.write, saved_model.load),
    "keras": Format(keras.FILE, keras.PRECISIONS, (), keras.write, keras.load),
}
