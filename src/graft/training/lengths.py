"""Examples of differing length, as texts are: (b, length, ...), with zeros after the end of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

MULTIPLE = 8
"""Batches are cut off at a multiple of this."""


def is_open(model: keras.Model) -> bool:
    """Whether a model takes any length."""
    return len(model.input_shape) > 2 and model.input_shape[1] is None


def of(inputs: np.ndarray) -> np.ndarray:
    """(b, length, ...) -> (b,) int64: up to the last place that is not zero."""
    used: np.ndarray = (inputs.reshape(*inputs.shape[:2], -1) != 0).any(axis=2)
    return np.where(used.any(axis=1), used.shape[1] - used[:, ::-1].argmax(axis=1), 0)


def shortened(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """The same without what is zero at the end of all examples, where the model takes any length."""
    if not is_open(model):
        return inputs
    longest = max(1, int(of(inputs).max(initial=0)))
    return inputs[:, : -(-longest // MULTIPLE) * MULTIPLE]
