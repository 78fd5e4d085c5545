"""TensorFlow's SavedModel: a folder, with one signature from examples to probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from graft.export.subject import Subject

FILE = "model"
PRECISIONS = ("float32",)
SIGNATURE = "serving_default"


def write(subject: Subject, precision: str, folder: Path) -> None:
    import tensorflow as tf

    from graft.export.subject import PROBABILITIES

    whole, kind = subject.whole, subject.kind

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec((None, *kind.shape), kind.dtype, kind.entry)]
    )
    def classify(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {PROBABILITIES: whole(examples, training=False)}

    module = tf.Module()
    module.variables_ = [variable.value for variable in whole.variables]
    module.classify = classify
    tf.saved_model.save(module, str(folder / FILE), signatures={SIGNATURE: classify})


def load(folder: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """threads: as the process was started."""
    import tensorflow as tf

    module = tf.saved_model.load(str(folder / FILE))
    signature = module.signatures[SIGNATURE]

    def run(examples: np.ndarray) -> np.ndarray:
        (found,) = signature(tf.constant(examples)).values()
        return np.asarray(found.numpy())

    return run
