"""The model that is exported, and the graphs that every format starts from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.export.images import Images
from graft.export.kind import Kind
from graft.export.texts import Texts
from graft.features.engines.base import frozen

if TYPE_CHECKING:
    import keras

PROBABILITIES = "probabilities"
"""The output of every exported file."""

KINDS: Mapping[str, Callable[[Mapping[str, Any]], Kind]] = {"image": Images, "text": Texts}
"""data.kind -> what an exported file reads, by the model's card."""


@dataclass(frozen=True)
class Subject:
    """network: what a kind's `network_shape` says, as float32 (n, ...) -> probabilities (n, n_classes). card: as it was
    written.

    calibrating: what activations are calibrated with, (n, side, side, 3) uint8; called where int8 is asked for and
        the kind calibrates.
    """

    network: keras.Model
    card: Mapping[str, Any]
    calibrating: Callable[[], np.ndarray]

    @property
    def classes(self) -> list[str]:
        """In the order of the outputs."""
        return list(self.card["classes"])

    @cached_property
    def kind(self) -> Kind:
        return KINDS[self.card["input"]["kind"]](self.card)

    @cached_property
    def described(self) -> dict[str, str]:
        """What a file says of itself, by names: `classes` and `card` are JSON, `input` is a sentence."""
        return {
            "classes": json.dumps(self.classes, ensure_ascii=False),
            "card": json.dumps(self.card, sort_keys=True, ensure_ascii=False),
            "input": self.kind.words,
        }

    @cached_property
    def whole(self) -> keras.Model:
        """The file's input (n, ...) -> probabilities, layers of Keras alone, or of KerasHub's for texts."""
        return self.kind.whole(self.network)

    @cached_property
    def frozen_front(self) -> Any:
        """What comes before the network, as TensorFlow's graph; for quantised networks too: it stays in float. None
        where nothing does."""
        kind = self.kind
        return None if kind.front is None else frozen(kind.front, {kind.entry: (kind.shape, kind.dtype)})

    @cached_property
    def frozen_network(self) -> Any:
        """The network as TensorFlow's graph, its weights constants of it; on the file's own input where nothing comes
        before it."""
        dtype = self.kind.dtype if self.kind.front is None else "float32"
        return frozen(self.network, {self.network.inputs[0].name: (self.kind.network_shape, dtype)})
