"""The layers of a network that are worth reading features from: where a block ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.backbones import build, cuts

if TYPE_CHECKING:
    import keras

MOST = 24
"""Of one network; of more, as many are taken evenly, the last among them."""

GOES_ON = ("BatchNormalization", "LayerNormalization", "Activation", "ReLU", "LeakyReLU", "Dropout", "Rescaling")
"""Kinds of layers that belong to the step before: what they read is not yet its result."""


@dataclass(frozen=True)
class Tap:
    """layer: whose output is read. cut: from where on the network trains on it, None for the network's own output.

    channels: of a pooled output. below: share of the compute up to it, 0 to 1. stored_bytes: of one image's activations
    there, as fine-tuning keeps them.
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
    found: list[Tap] = []
    seen = {id(network.inputs[0])}
    for name, point in points.points.items():
        tensor = crossing[name]
        if id(tensor) not in seen and type(network.get_layer(name)).__name__ not in GOES_ON:
            seen.add(id(tensor))
            layer = tensor._keras_history.operation.name
            found.append(Tap(layer, name, point.shape[-1], point.below, 2 * math.prod(point.shape)))
    end = network.outputs[0]
    shape = tuple(end.shape[1:])
    last = Tap(end._keras_history.operation.name, None, shape[-1], 1.0, 2 * math.prod(shape))
    found = [tap for tap in found if crossing[tap.cut or ""] is not end and _computes(network, tap)]
    widths = [tap.channels for tap in found] + [last.channels]
    ends = [tap for i, tap in enumerate(found) if _widens(widths[i:])]
    return _thinned([*ends, last])


def _computes(network: keras.Model, tap: Tap) -> bool:
    """Whether a tap is more than the image, or another one with a border."""
    return tap.below > 0 and type(network.get_layer(tap.layer)).__name__ != "ZeroPadding2D"


def _widens(widths: list[int]) -> bool:
    """Whether the next other width is a larger one, or there is none."""
    return next((width > widths[0] for width in widths if width != widths[0]), True)


def _thinned(taps: list[Tap]) -> list[Tap]:
    n = len(taps)
    return taps if n <= MOST else [taps[round(i * (n - 1) / (MOST - 1))] for i in range(MOST)]


def model(loaded: build.Loaded, taps: list[Tap]) -> keras.Model:
    """Pixels (n, side, side, 3) in [0, 255] -> the means over all places of every tap, side by side, (n, c) float32."""
    import keras

    network = loaded.model
    inputs = keras.Input(network.input_shape[1:], name="pixels")
    inner: Any = keras.Model(network.input, [network.get_layer(tap.layer).output for tap in taps])
    outputs = inner(build.preprocess(loaded.row, inputs), training=False)
    pooled = [keras.layers.GlobalAveragePooling2D(name=f"tap_{i}")(output) for i, output in enumerate(outputs)]
    return keras.Model(inputs, keras.layers.Concatenate(name="taps")(pooled), name="taps")
