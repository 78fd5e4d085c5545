"""Keras's `mixed_bfloat16` for a step of training, by a model whose variables are and stay float32.

A layer takes its policy as its operations are made, so it has another one only while a step's graph is. What judges,
predicts and saves the model is float32, as it is without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def computing(model: Any, dtype_policy: str) -> Iterator[None]:
    """Graphs that are made of `model` meanwhile compute by this policy of Keras's, except for what must be float32."""
    exact = {id(layer) for layer in _exact(model)}
    layers = [layer for layer in model._flatten_layers() if id(layer) not in exact]
    before = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer.dtype_policy = dtype_policy
        yield
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy


def _exact(model: Any) -> list[Any]:
    """The softmax at the end, and what hands on inputs, which may be numbers of tokens: bfloat16 has 256 of them.

    Norms compute in float32 by themselves, and give what their policy says. A network has no policy but its layers'.
    """
    import keras

    networks = [layer for layer in model._flatten_layers() if isinstance(layer, keras.Model)]
    handing_on = [layer for one in networks for layer in one.layers if isinstance(layer, keras.layers.Identity)]
    last = model
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    return [*networks, *handing_on, last]
