"""The model that is exported, and the graphs that every format starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.export import resizing
from graft.features.engines.base import frozen
from graft.inputs.image.decode import Resizing

if TYPE_CHECKING:
    import keras

IMAGE, PIXELS, PROBABILITIES = "image", "pixels", "probabilities"
"""Names in every exported file: of its input, (n, h, w, 3) uint8, and its output; pixels are between the two parts."""


@dataclass(frozen=True)
class Subject:
    """network: pixels (n, side, side, 3) float32 in [0, 255] -> probabilities (n, n_classes). card: as it was written.

    squares: what activations are calibrated with, (n, side, side, 3) uint8; called where int8 is asked for.
    """

    network: keras.Model
    card: Mapping[str, Any]
    squares: Callable[[], np.ndarray]

    @property
    def classes(self) -> list[str]:
        """In the order of the outputs."""
        return list(self.card["classes"])

    @property
    def resizing(self) -> Resizing:
        values = self.card["input"]
        return Resizing(values["side"], values["resize"], values["interpolation"])

    @cached_property
    def resizer(self) -> keras.Model:
        """As `resizing.resizer`."""
        return resizing.resizer(self.resizing)

    @cached_property
    def whole(self) -> keras.Model:
        """Images (n, h, w, 3) uint8 -> probabilities, layers of Keras alone."""
        import keras

        images = self.resizer.inputs[0]
        return keras.Model(images, self.network(self.resizer.outputs[0], training=False), name="classifier")

    @cached_property
    def frozen_resizer(self) -> Any:
        """The resizing as TensorFlow's graph. For quantised networks too: resizing stays in float."""
        return frozen(self.resizer, {IMAGE: ((None, None, 3), "uint8")})

    @cached_property
    def frozen_network(self) -> Any:
        """The network as TensorFlow's graph, its weights constants of it."""
        side = self.resizing.side
        return frozen(self.network, {self.network.inputs[0].name: ((side, side, 3), "float32")})
