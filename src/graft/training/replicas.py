"""Spread a step of training over all GPUs, so that it gives the bytes that it gives on one.

`tf.distribute.MirroredStrategy` adds gradients in an order that depends on the number of replicas, and BatchNorm sees a
replica's own examples alone. Here there is one graph, as on one device: its shards and their sums are the same, in the
same order, and each shard's operations are placed on a device. Variables, and what is computed of all shards, stay on
the first one.

A GradientTape makes gradients where it is asked for them, not where the operations were made, but under the names of
these (`gradient_tape/.../shard_1/...`). So operations are placed by their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from graft.runtime.progress import say
from graft.training.shards import NAME, SHARDS


@cache
def found() -> tuple[str, ...]:
    """The names of the devices that share each batch, said once where they are several: GPUs where there are any, else
    TensorFlow's logical CPUs, of which there is one unless it was told otherwise; no more than a batch has shards."""
    import tensorflow as tf

    devices = (tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU"))[:SHARDS]
    if len(devices) > 1:
        say(f"{len(devices)} {devices[0].device_type}s share each batch")
    return tuple(device.name for device in devices)


@contextmanager
def placed(devices: Sequence[str], n_shards: int) -> Iterator[None]:
    """Around the making of a graph on `n_shards` shards: divides them among the devices. On one, changes nothing."""
    import tensorflow as tf

    def place(operation: Any) -> str:
        if any(tensor.dtype == tf.resource for tensor in operation.inputs):  # a variable's, which stays where it is
            return ""
        if named := re.search(rf"\b{NAME}(\d+)", operation.name):
            return devices[int(named[1]) * len(devices) // n_shards]
        # What nobody named: the sum of gradients that meet within a shard, for one.
        places = {tensor.device for tensor in operation.inputs}
        return places.pop() if len(places) == 1 else ""

    if len(devices) == 1:
        yield
        return
    with tf.compat.v1.device(place):
        yield
