"""TensorFlow's graph with its weights frozen to constants: 2.6 times the speed of `model.predict` on a CPU."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.features.engines.base import OF_ANY_LENGTH, CannotRunError, Forward, frozen, is_open
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


ON_CPU, ON_GPU = 16, 64
"""Examples in one call."""


def forward(network: keras.Model, signature: Signature, precision: str, capped: bool) -> Forward:
    """capped is what the process was started with: TensorFlow reads it as it is imported."""
    import tensorflow as tf

    if precision != "float32":
        raise CannotRunError(f"the tensorflow engine computes in float32 only, not in {precision}")
    first = frozen(network, signature, _exactly)
    graphs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for graph in (first, *(_copy(first) for _ in range(available() - 1))):
        graphs.put(graph)

    def run(arrays: Arrays) -> tuple[np.ndarray, ...]:
        graph = graphs.get()
        try:
            outputs = graph(*(tf.constant(arrays[name]) for name in signature))
            return tuple(np.asarray(output.numpy()) for output in outputs)
        finally:
            graphs.put(graph)

    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    # An operation takes one thread, so that sums do not depend on how many there are; calls run side by side, each on
    # a graph of its own (`shards.ONE_AT_A_TIME` says why).
    return Forward(run, ON_GPU if on_gpu else OF_ANY_LENGTH if is_open(signature) else ON_CPU)
