"""TensorFlow's graph with its weights frozen to constants: 2.6 times the speed of `model.predict` on a CPU."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.features.engines.base import CannotRunError, Forward, frozen, is_open
from graft.inputs.spec import Arrays, Signature
from graft.runtime.cores import available
from graft.training import shards

if TYPE_CHECKING:
    import keras


def _exactly(network: keras.Model, named: Mapping[str, Any]) -> Any:
    """BatchNorm and LayerNorm with a square root and a division, which are exact on every processor."""
    return shards.outputs(network, [named[tensor.name] for tensor in network.inputs])


def _copy(graph: Any) -> Any:
    """The same frozen graph, with operations of its own."""
    import tensorflow as tf

    definition = graph.graph.as_graph_def()
    copied = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    inputs, outputs = (
        [copied.graph.get_tensor_by_name(tensor.name) for tensor in tensors]
        for tensors in (graph.inputs, graph.outputs)
    )
    return copied.prune(inputs, outputs)


ON_CPU, OF_ANY_LENGTH, ON_GPU = 12, 6, 64
"""Examples in a call: always so many, since a library's matrix product sums a row in another order where it has
another number of rows, and the last rows otherwise than the others. So no example's values depend on its company.
oneDNN for AVX2 computes rows by 4 and by 6, so that rows by 12 are all alike: 12 images have them whatever their number
of patches, and 6 texts since their length is even.
"""

CALLS_OF_ANY_LENGTH = 6
"""Calls that are asked for in one where examples differ in length: only the last one of a length is filled up."""


def _in_calls(number: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, number)) for start in range(0, number, size))


def _filled(array: np.ndarray, size: int) -> np.ndarray:
    """(n, ...) -> (size, ...): the last example stands in for what is missing."""
    return array if len(array) == size else np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])


def forward(network: keras.Model, signature: Signature, precision: str, capped: bool) -> Forward:
    """capped is what the process was started with: TensorFlow reads it as it is imported."""
    import tensorflow as tf

    if precision != "float32":
        raise CannotRunError(f"the tensorflow engine computes in float32 only, not in {precision}")
    first = frozen(network, signature, _exactly)
    graphs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for graph in (first, *(_copy(first) for _ in range(available() - 1))):
        graphs.put(graph)

    size = ON_GPU if tf.config.list_physical_devices("GPU") else OF_ANY_LENGTH if is_open(signature) else ON_CPU

    def run(arrays: Arrays) -> tuple[np.ndarray, ...]:
        graph, calls = graphs.get(), []
        try:
            for some in _in_calls(len(arrays[next(iter(signature))]), size):
                outputs = graph(*(tf.constant(_filled(arrays[name][some], size)) for name in signature))
                calls.append([output.numpy()[: some.stop - some.start] for output in outputs])
        finally:
            graphs.put(graph)
        return tuple(np.concatenate(parts) for parts in zip(*calls, strict=True))

    # An operation takes one thread, so that sums do not depend on how many there are; calls run side by side, each on
    # a graph of its own (`shards.ONE_AT_A_TIME` says why).
    return Forward(run, CALLS_OF_ANY_LENGTH * size if is_open(signature) else size)
