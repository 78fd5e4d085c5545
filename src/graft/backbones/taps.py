"""The layers of a network that are worth reading features from, where a block ends; and all of them read at once.

A text network is read where each of its blocks begins, which has a layer that only names the place: `block_3` is what
comes out of the third block and enters the fourth; `block_0` is the embeddings of the tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.backbones import build, cuts, text

if TYPE_CHECKING:
    import keras

    from graft.config.schema import BackboneParams

NONE, ALL = "none", "all"
"""Values of `extract.taps`."""

SIDE_BY_SIDE = "taps"
"""The layer that puts the taps together."""

LAST = "output"
"""What a text network's own output is called, which no layer of a name of its own makes."""

MOST = 24
"""Of one network; of more, as many are taken evenly, the last among them."""

MOST_FEATURES = 4096
"""Of all taps together, likewise: solving for a head takes the cube of them, half a minute for so many."""

GOES_ON = ("BatchNormalization", "LayerNormalization", "Activation", "ReLU", "LeakyReLU", "Dropout", "Rescaling")
"""Kinds of layers that belong to the step before: what they read is not yet its result."""


@dataclass(frozen=True)
class Tap:
    """layer: whose output is read. cut: from where on the network trains on it, None for the network's own output.

    channels: of a pooled output. below: share of the compute up to it, 0 to 1. stored_bytes: of one image's activations
    there, or of one token's, as fine-tuning keeps them.
    """

    layer: str
    cut: str | None
    channels: int
    below: float
    stored_bytes: int


def of(network: keras.Model) -> list[Tap]:
    """From the input on; the network's own output is the last.

    Those that alone cross a cut, are read by the first layer of the next step, and are not wider than what follows:
    a block that widens and narrows again, as MobileNetV2's, is read at its end.
    """
    points, crossing = cuts.derive(network), cuts.crossing(network)
    end = network.outputs[0]
    if _is_sequence(end):
        blocks = [(name, one) for name, one in points.points.items() if name.startswith(text.BLOCK)]
        taps = [Tap(name, name, one.shape[-1], one.below, 2 * math.prod(one.shape)) for name, one in blocks]
        width = int(end.shape[-1])
        return _thinned([*taps, Tap(LAST, None, width, 1.0, 2 * width)])
    found: list[Tap] = []
    seen = {id(network.inputs[0])}
    for name, point in points.points.items():
        tensor = crossing[name]
        if id(tensor) not in seen and type(network.get_layer(name)).__name__ not in GOES_ON:
            seen.add(id(tensor))
            layer = tensor._keras_history.operation.name
            found.append(Tap(layer, name, point.shape[-1], point.below, 2 * math.prod(point.shape)))
    shape = tuple(end.shape[1:])
    last = Tap(end._keras_history.operation.name, None, shape[-1], 1.0, 2 * math.prod(shape))
    tensors = {tap.layer: crossing[tap.cut or ""] for tap in found}
    found = [tap for tap in found if tensors[tap.layer] is not end and _computes(tap, tensors[tap.layer])]
    widths = [tap.channels for tap in found] + [last.channels]
    ends = [tap for i, tap in enumerate(found) if _widens(widths[i:])]
    return _thinned([*ends, last])


def _is_sequence(tensor: Any) -> bool:
    """Whether a network's output is that of a text network, (n, length, width)."""
    return len(tensor.shape) == 3


def _computes(tap: Tap, tensor: Any) -> bool:
    """Whether a tap is more than the image, or another one with a border."""
    return tap.below > 0 and type(tensor._keras_history.operation).__name__ != "ZeroPadding2D"


def _widens(widths: list[int]) -> bool:
    """Whether the next other width is a larger one, or there is none."""
    return next((width > widths[0] for width in widths if width != widths[0]), True)


def _thinned(taps: list[Tap]) -> list[Tap]:
    """As many as MOST and MOST_FEATURES allow, evenly, the last among them."""
    for n in range(min(MOST, len(taps)), 1, -1):
        some = evenly(taps, n)
        if sum(tap.channels for tap in some) <= MOST_FEATURES:
            return some
    return taps[-1:]


def evenly(taps: Sequence[Tap], n: int) -> list[Tap]:
    """n of them, or all where there are fewer; the first and the last among them. n: 2 or more."""
    if len(taps) <= n:
        return list(taps)
    return [taps[round(i * (len(taps) - 1) / (n - 1))] for i in range(n)]


def joined(network: keras.Model, pooling: str) -> keras.Model:
    """The same network -> the pooled outputs of all its taps, side by side from the input on, (n, c).

    pooling: avg or max, over all places; of a text over its tokens, or cls.
    """
    import keras

    end, crossing = network.outputs[0], cuts.crossing(network)
    if _is_sequence(end):
        pool = partial(text.pooled, how=pooling)
    else:
        pool = {"avg": _mean, "max": keras.layers.GlobalMaxPooling2D()}[pooling]
    pooled = [pool(end if tap.cut is None else crossing[tap.cut]) for tap in of(network)]
    return keras.Model(network.input, keras.layers.Concatenate(name=SIDE_BY_SIDE)(pooled), name=network.name)


def _mean(x: Any) -> Any:
    """(n, h, w, c) -> (n, c), as products with 1/w and 1/h: of few channels OpenVINO's pooling, which divides by an
    approximate instruction, has other late decimals on other processors."""
    import keras

    rows, columns, channels = x.shape[1:]
    for size, shape in ((columns, (rows, channels)), (rows, (channels,))):
        x = keras.layers.Reshape(shape)(keras.ops.matmul(np.full((1, size), 1 / size, np.float32), x))
    return x


def widths(joined: keras.Model) -> list[int]:
    """How many features each tap has, of what `joined` has made."""
    import keras

    return [tensor.shape[-1] for tensor in keras.tree.flatten(joined.get_layer(SIDE_BY_SIDE).input)]


def built(backbone: BackboneParams, pooling: str | None, taps: str) -> build.Loaded:
    """The network of params.yaml `backbone`; its output is that of all its taps where `taps` is ALL.

    Raises what `build.build` raises.
    """
    loaded = build.of(backbone)
    return replace(loaded, model=joined(loaded.model, pooling or "avg")) if taps == ALL else loaded
