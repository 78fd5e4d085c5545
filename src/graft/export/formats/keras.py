"""A `.keras` file of Keras's own layers and operations: it loads wherever Keras is, without graft.

One that reads texts has layers of KerasHub's, which must be imported before it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.export import texts

if TYPE_CHECKING:
    from graft.export.subject import Subject

FILE = "model.keras"
PRECISIONS = ("float32",)


def write(subject: Subject, precision: str, folder: Path) -> None:
    subject.whole.save(folder / FILE)


def load(folder: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """threads: as the process was started."""
    import keras

    if (folder / texts.FILE).is_file():
        import keras_hub  # noqa: F401
    model = keras.models.load_model(folder / FILE, compile=False)

    def run(examples: np.ndarray) -> np.ndarray:
        # Not `model.predict`, which would trace a graph for every new size.
        return np.asarray(keras.ops.convert_to_numpy(model(examples, training=False)))

    return run
