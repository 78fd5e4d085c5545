"""What TensorFlow must not rewrite in a graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

EXACT = {"arithmetic_optimization": False, "constant_folding": False}
"""The first makes x / sqrt(y) a product with an approximate reciprocal square root, the second 1 / y an approximate
reciprocal, and x / constant a product with one. All differ between processors. Where the first was left on, BERT's
features were 0.0003 off, and a graph failed where a norm's scale had several dimensions: so TensorFlow 2.21 was seen to
do, and why was not looked into.
"""


@contextmanager
def exact() -> Iterator[None]:
    """As after `runtime.computing.tensorflow.configure`, in a process whose settings are its owner's."""
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(EXACT)
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({name: before.get(name, True) for name in EXACT})
