"""Run a network on parts of a batch side by side, so that its results do not depend on the number of cores.

TensorFlow's own way to use several cores cuts one operation into as many pieces as there are threads, and sums in
another order with every number of them. Here each operation runs on one thread (`runtime.computing.tensorflow` sees
to it), and a batch is cut into SHARDS parts instead, however many threads there are to run them.

Networks are walked node by node, all shards of a node before the next one: BatchNorm needs the statistics of the whole
batch, and layers whose Keras code has a reciprocal square root are computed with a square root and a division. That
root is approximated by an instruction that gives other late digits on other processors; these two are exact everywhere.
GELU is the one other operation of Keras's networks that differs between processors (tests/portable/steps.py).

What makes graphs of them does so without AutoGraph: they decide nothing by values, and to look for that in all code on
the way takes a sixth of the time until the first step.
"""

from __future__ import annotations

import inspect
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from graft.runtime.computing.exact import exact
from graft.runtime.reading.prefetch import prefetched
from graft.training import lengths

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Result = TypeVar("Result")

SHARDS = 4
"""Parts of a training batch. Two are as fast on two cores and leave the others of a larger machine idle."""

NAME = "shard_"
"""How the names of a shard's operations begin, before its number."""

WORTH_A_GRAPH = 16
"""Chunks from which on it pays to make a graph of the network first: that takes about as long as so many without."""

CHUNK = 32
"""Examples in one forward pass where no gradient is wanted. Fixed, since a matrix product may sum by its size."""


def count(batch_size: int) -> int:
    """Into how many shards a batch is cut: SHARDS, or one for each example of a smaller one.

    None is empty: oneDNN's convolution of no example has the wrong shape (TensorFlow 2.21).
    """
    return min(SHARDS, batch_size)


def cut(batch: tf.Tensor, n_shards: int) -> list[tf.Tensor]:
    """(b, ...) -> contiguous parts of it whose sizes follow from b alone and differ by at most 1."""
    import tensorflow as tf

    size = tf.shape(batch)[0]
    edges = [size * i // n_shards for i in range(n_shards + 1)]
    return [batch[start:stop] for start, stop in pairwise(edges)]


def each(parts: Iterable[Result]) -> Iterator[Result]:
    """What belongs to each shard in turn. Operations made of it, and of their gradients, bear the name of the shard,
    by which `training.replicas` places them."""
    import tensorflow as tf

    for i, part in enumerate(parts):
        with tf.name_scope(f"{NAME}{i}"):
            yield part


def added(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum of tensors of one shape, from the first to the last."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def apply(network: keras.Model, shards: Sequence[tf.Tensor], training: bool) -> list[tf.Tensor]:
    """What a functional network with one input and one output gives for each shard: (b_i, ...) -> (b_i, ...) float32.

    training: whether dropout is drawn, for each shard its own, and BatchNorm that is trainable takes its statistics
        from all shards together. A layer that was put into the network with a `training` of its own keeps that.
    """
    return [outputs[0] for outputs in _walk(network, [[shard] for shard in shards], training)]


def compiled(run: Callable[..., Any], signature: Sequence[tf.TensorSpec]) -> Any:
    """The graph of a function of tensors. It is called without looking each time for the one that suits its arguments,
    which took a third of the processor's time in a step of a head."""
    import tensorflow as tf

    return tf.function(run, input_signature=signature, autograph=False).get_concrete_function()


def in_turn(step: Callable[..., Any], dtypes: Sequence[tf.DType]) -> Callable[..., Any]:
    """A function of tensors as one of several of each, (k, ...): it is called k times, one after the other.

    dtypes: of what it returns, a (b,) tensor each, for which (k, b) ones are returned.
    """
    import tensorflow as tf

    def run(*given: tf.Tensor) -> list[tf.Tensor]:
        k = tf.shape(given[0])[0]

        def turn(i: tf.Tensor, *told: tf.TensorArray) -> tuple[Any, ...]:
            answers = step(*(one[i] for one in given))
            return i + 1, *(one.write(i, answer) for one, answer in zip(told, answers, strict=True))

        told = [tf.TensorArray(dtype, k, element_shape=(None,)) for dtype in dtypes]
        _, *told = tf.while_loop(lambda i, *_: i < k, turn, (tf.constant(0), *told), parallel_iterations=1)
        return [one.stack() for one in told]

    return run


def outputs(network: keras.Model, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """All outputs of a functional network in inference mode, of its inputs in their order: one shard."""
    return _walk(network, [list(inputs)], training=False)[0]


def predict(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """(n, ...) float32 -> what the model gives for them in inference mode, (n, ...) float32."""
    return predict_rows(model, np.arange(len(inputs)), lambda rows: inputs[rows])


def predict_rows(model: keras.Model, rows: np.ndarray, fetch: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """As `predict`, of examples that are read as they are needed. fetch: some of `rows` -> inputs (b, ...) float32."""
    import tensorflow as tf

    def run(inputs: Any) -> Any:
        return apply(model, [inputs], training=False)[0]

    if len(rows) > WORTH_A_GRAPH * CHUNK:
        run = compiled(run, [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)])
    with ONE_AT_A_TIME, exact():
        chunks = in_chunks(rows, lambda some: lengths.shortened(model, fetch(some)))
        parts = [run(tf.constant(inputs, tf.float32)).numpy() for inputs in chunks]
    return np.concatenate(parts) if parts else np.empty((0, *model.output_shape[1:]), np.float32)


ONE_AT_A_TIME = threading.Lock()
"""Held while a model predicts: an operation of oneDNN's must not run twice at once.

TensorFlow's kernels for it are not safe for that (2.21): where two threads ran one function, two of a thousand calls
gave wrong values, and some crashed in `CreateAndExecuteReorder`. Shards of one call have operations of their own.
"""


def in_chunks(rows: np.ndarray, fetch: Callable[[np.ndarray], Result]) -> Iterator[Result]:
    """fetch(CHUNK or less of `rows`), in order; those that come next are fetched meanwhile."""
    import tensorflow as tf

    threads = tf.config.threading.get_inter_op_parallelism_threads() or 1
    chunks = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
    return prefetched(fetch, chunks, threads, threads + 1)


Call = tuple[Sequence[Any], dict[str, Any]]
"""Positional and keyword arguments with which a layer is called on one shard."""


def _walk(network: Any, inputs: list[list[Any]], training: bool) -> list[list[Any]]:
    """The outputs of a functional network on each shard. inputs: those of each shard.

    Keras has no public way to run a network with other code for some of its layers and all inputs at once.
    """
    import keras

    names = [id(tensor) for tensor in network.inputs]
    known = [dict(zip(names, own, strict=True)) for own in inputs]
    nodes = [node for depth in sorted(network._nodes_by_depth, reverse=True) for node in network._nodes_by_depth[depth]]
    left = Counter(id(tensor) for node in nodes if not node.is_input for tensor in node.input_tensors)
    left.update(id(tensor) for tensor in network.outputs)
    for node in nodes:
        if not node.is_input and id(node.outputs[0]) not in known[0]:
            calls = [node.arguments.fill_in(values) for values in known]
            for values, output in zip(known, _call(node.operation, calls, training), strict=True):
                made = zip(node.outputs, keras.tree.flatten(output), strict=True)
                values.update((id(tensor), value) for tensor, value in made)
        # What nobody reads any more is let go: all of a network's feature maps are a hundred times its last one.
        for tensor in () if node.is_input else node.input_tensors:
            left[id(tensor)] -= 1
            if not left[id(tensor)]:
                for values in known:
                    values.pop(id(tensor), None)
    return [[values[id(tensor)] for tensor in network.outputs] for values in known]


def _call(operation: Any, calls: list[Call], training: bool) -> list[Any]:
    """What a layer, an operation or a network within the network gives for each shard."""
    import keras

    takes = inspect.signature(operation.call).parameters.get("training")
    own = calls[0][1].get("training")
    # Keras notes a layer's default as if it had been asked for: Dropout's is False.
    if takes is not None and own not in (None, takes.default):
        training = own
    if isinstance(operation, keras.Sequential):
        outputs = [arguments[0] for arguments, _ in calls]
        for layer in operation.layers:
            outputs = _call(layer, [((output,), {}) for output in outputs], training)
        return outputs
    if hasattr(operation, "_nodes_by_depth"):
        return _walk(operation, [keras.tree.flatten(arguments) for arguments, _ in calls], training)
    special = {keras.layers.BatchNormalization: _batch_norm, keras.layers.LayerNormalization: _shards_norm}
    if type(operation) in special:
        return special[type(operation)](operation, [arguments[0] for arguments, _ in calls], training)
    if hasattr(operation, "on_shards"):
        return list(operation.on_shards([arguments[0] for arguments, _ in calls]))
    if takes is not None:
        calls = [(arguments, named | {"training": training}) for arguments, named in calls]
    with _exactly(operation):
        return [operation(*arguments, **named) for arguments, named in each(calls)]


EXACT = threading.Lock()
"""Held while layers compute in another way than Keras's: chunks are predicted side by side, by the same layers."""


def _gelu(x: Any) -> Any:
    """x * P(X <= x), Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415, by the error function."""
    import tensorflow as tf

    return 0.5 * x * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


@contextmanager
def _exactly(operation: Any) -> Iterator[None]:
    """Whatever of a layer and the layers within it has GELU has it by the error function, where Keras takes its
    complement, an approximation; layers within that normalise do so with a square root and a division."""
    import keras

    inside = list(operation._flatten_layers()) if isinstance(operation, keras.Layer) else []
    activated = [one for one in inside if getattr(one, "activation", None) in (keras.activations.gelu, _gelu)]
    if not activated and not any(type(one) is keras.layers.LayerNormalization for one in inside):
        yield
        return
    own = keras.layers.LayerNormalization.call
    with EXACT:
        for one in activated:
            one.activation = _gelu
        keras.layers.LayerNormalization.call = _layer_norm
        try:
            yield
        finally:
            keras.layers.LayerNormalization.call = own
            for one in activated:
                one.activation = keras.activations.gelu


def _batch_norm(layer: Any, inputs: list[Any], training: bool) -> list[Any]:
    """`keras.layers.BatchNormalization`, its statistics and moving averages those of all shards as one batch."""
    import tensorflow as tf

    inputs = [tf.cast(x, layer.variable_dtype) for x in each(inputs)]
    rank = len(inputs[0].shape)
    axis = layer.axis % rank
    if training and layer.trainable:
        axes = [i for i in range(rank) if i != axis]
        counts = [tf.reduce_prod(tf.gather(tf.shape(x), axes)) for x in inputs]
        count = tf.cast(added(counts), inputs[0].dtype)
        mean = added([tf.reduce_sum(x, axes) for x in each(inputs)]) / count
        # As in tf.nn.moments: the variance does not change with the mean around which it is taken.
        around = tf.stop_gradient(_along(mean, axis, rank))
        variance = added([tf.reduce_sum(tf.math.squared_difference(x, around), axes) for x in each(inputs)]) / count
        for moving, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving * layer.momentum + now * (1.0 - layer.momentum))
    else:
        mean, variance = tf.convert_to_tensor(layer.moving_mean), tf.convert_to_tensor(layer.moving_variance)
    scale = (layer.gamma if layer.scale else tf.ones_like(variance)) / tf.sqrt(variance + layer.epsilon)
    offset = -mean * scale + (layer.beta if layer.center else 0.0)
    scale, offset = _along(scale, axis, rank), _along(offset, axis, rank)
    return [tf.cast(x * scale + offset, layer.compute_dtype) for x in each(inputs)]


def _shards_norm(layer: Any, inputs: list[Any], training: bool) -> list[Any]:
    return [_layer_norm(layer, x) for x in each(inputs)]


def _layer_norm(layer: Any, x: Any) -> Any:
    """`keras.layers.LayerNormalization`: each example, or position of it, by its own mean and variance."""
    import tensorflow as tf

    x = tf.cast(x, layer.variable_dtype)
    axes = [axis % len(x.shape) for axis in layer.axis]
    shape = [size if i in axes else 1 for i, size in enumerate(x.shape)]
    mean = tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(x, tf.stop_gradient(mean)), axes, keepdims=True)
    y = (x - mean) / tf.sqrt(variance + layer.epsilon)
    y = y * tf.reshape(layer.gamma, shape) if layer.scale else y
    y = y + tf.reshape(layer.beta, shape) if layer.center else y
    return tf.cast(y, layer.compute_dtype)


def _along(vector: Any, axis: int, rank: int) -> Any:
    """(channels,) -> the same along one axis of `rank`, 1 along the others."""
    import tensorflow as tf

    return vector if axis == rank - 1 else tf.reshape(vector, [-1 if i == axis else 1 for i in range(rank)])
