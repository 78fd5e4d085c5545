"""What every kind of example offers to an export: what an exported file reads, and how that is made of bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import keras


class Kind(Protocol):
    """Of a model with its card.

    entry, shape, dtype: the one input of every exported file: its name, the shape of one example, its type.
    nouns: what examples are called. same: what both get where only the conversion is judged, `same_<same>_...` in the
    figures. calibrates: whether int8 learns the ranges of activations from examples beforehand; else they are taken at
    each call.
    """

    entry: str
    shape: tuple[int | None, ...]
    dtype: str
    nouns: str
    same: str
    calibrates: bool

    @property
    def words(self) -> str:
        """What callers give, in a sentence for the file's metadata."""

    @property
    def beside(self) -> Mapping[str, str]:
        """Names and texts of files that lie beside an exported one."""

    @property
    def front(self) -> keras.Model | None:
        """What comes before the network in the file, in float; None where callers give what the network reads."""

    @property
    def network_shape(self) -> tuple[int | None, ...]:
        """Of one example, as it enters the network."""

    def whole(self, network: keras.Model) -> keras.Model:
        """Input of the file -> probabilities, of Keras's layers."""

    def prepared(self, data: bytes) -> np.ndarray:
        """What the file is given of an example, without the dimension of a batch, as graft makes it."""

    def given(self, data: bytes) -> np.ndarray:
        """The same, as a caller without graft makes it."""

    def timed(self, some: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Name of a figure -> the batch of one it is measured on; memory is that with the first. some: of `given`."""
