"""What an engine makes of a network, and the graph that every engine starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.inputs.spec import Arrays, Signature

if TYPE_CHECKING:
    import keras


class CannotRunError(Exception):
    """An engine cannot run a network, or not in this precision."""


@dataclass(frozen=True)
class Forward:
    """A network on an engine.

    run: arrays (n, ...) by the names of the inputs -> a float32 array (n, ...) for each output of the network; several
        threads may call it, and one for each core keeps it busy.
    batch_size: examples in one call with which it is fastest.
    """

    run: Callable[[Arrays], tuple[np.ndarray, ...]]
    batch_size: int


OF_ANY_LENGTH = 32
"""Examples in one call where their length is left open: a text network is wide and its examples are short, so that a
call reads more weights than anything else (MiniLM, 16 tokens, texts/s on one core: 124 one by one, 312 at 16, 321)."""


def is_open(signature: Signature) -> bool:
    """Whether the length of an example is left open."""
    return any(size is None for shape, _ in signature.values() for size in shape)


Engine = Callable[["keras.Model", Signature, str, bool], Forward]
"""(network, what its examples are, precision: float32 or bfloat16, capped) -> Forward. Raises CannotRunError.

capped: the instruction set is the one that `numerics: portable` leaves; else all that the processor has.
"""


def as_keras_does(network: keras.Model, named: dict[str, Any]) -> Any:
    """The network's outputs, of its inputs by name."""
    return network(named if len(named) > 1 else next(iter(named.values())), training=False)


def frozen(
    network: keras.Model,
    signature: Signature,
    run_network: Callable[[keras.Model, dict[str, Any]], Any] = as_keras_does,
) -> Any:
    """The network as a graph on arrays as the examples come, its weights constants of it."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    expected = {tensor.name: tensor.dtype for tensor in network.inputs}
    specs = [tf.TensorSpec((None, *shape), dtype, name) for name, (shape, dtype) in signature.items()]

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def run(*arrays: tf.Tensor) -> tf.Tensor:
        named = {name: tf.cast(array, expected[name]) for name, array in zip(signature, arrays, strict=True)}
        return run_network(network, named)

    return convert_variables_to_constants_v2(run.get_concrete_function(*specs))
