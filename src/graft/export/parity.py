"""The gate: an exported file, run by its own runtime on validation examples, against the Keras model as graft runs it.

The file gets what a caller without graft would give it: an image decoded in full by Pillow and turned upright, a text's
tokens as the file beside says, without padding. graft itself decodes a JPEG near the size that is wanted, and pads. So
the file also gets graft's own pixels or tokens: what differs then is the conversion, what differs beyond it is what
callers do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from graft.export.kind import Kind
from graft.inputs.batches import stacked
from graft.runtime.cores import available
from graft.runtime.progress import track
from graft.runtime.reading.prefetch import prefetched
from graft.training import shards
from graft.verdicts import paired

if TYPE_CHECKING:
    import keras

CHUNK = 64
AHEAD = 16
"""Examples that are read before they are asked for: images, in full, are large."""


@dataclass(frozen=True)
class HeldOut:
    """Examples that a model is judged on. read: the bytes of the i-th, from several threads. targets: (n,) int64.

    kind: what an exported file reads of them.
    """

    read: Callable[[int], bytes]
    targets: np.ndarray
    kind: Kind

    def prepared(self) -> Iterator[np.ndarray]:
        """Each as graft makes it: (side, side, 3) uint8 of an image, (length, 2) int32 of a text."""
        return self._each(self.kind.prepared, CHUNK)

    def given(self) -> Iterator[np.ndarray]:
        """Each as a caller without graft makes it."""
        return self._each(self.kind.given, AHEAD)

    def _each(self, made: Callable[[bytes], np.ndarray], ahead: int) -> Iterator[np.ndarray]:
        return prefetched(lambda i: made(self.read(i)), range(len(self.targets)), available(), ahead)


@dataclass(frozen=True)
class Parity:
    """agreement: share of examples with the same label. largest_difference: of any probability. pairs: A is Keras.

    same_agreement, same_difference: likewise, where both get what graft makes of an example.
    """

    agreement: float
    largest_difference: float
    pairs: paired.Paired
    same_agreement: float
    same_difference: float

    @property
    def drop(self) -> float:
        """Accuracy lost, in [-1, 1]."""
        return -self.pairs.difference

    def figures(self, kind: Kind) -> dict[str, float]:
        """As metrics/export has them."""
        n = self.pairs.images
        return {
            kind.nouns: n,
            "accuracy": self.pairs.b_right / n,
            "keras_accuracy": self.pairs.a_right / n,
            "agreement": self.agreement,
            "largest_probability_difference": self.largest_difference,
            "mcnemar_p": paired.mcnemar(self.pairs),
            f"same_{kind.same}_agreement": self.same_agreement,
            f"same_{kind.same}_largest_probability_difference": self.same_difference,
        }


def as_graft_does(network: keras.Model, examples: HeldOut) -> np.ndarray:
    """(n, n_classes) probabilities of the Keras model."""

    def chunks() -> Iterator[list[np.ndarray]]:
        prepared = examples.prepared()
        while chunk := list(islice(prepared, CHUNK)):
            yield chunk

    def said(chunk: list[np.ndarray]) -> np.ndarray:
        _, arrays = stacked([(("", 0), {examples.kind.entry: one}) for one in chunk])
        return shards.predict(network, arrays[examples.kind.entry].astype(np.float32))

    return np.concatenate(
        [said(chunk) for chunk in track(chunks(), len(examples.targets), "Keras model", len, examples.kind.nouns)]
    )


def of(run: Callable[[np.ndarray], np.ndarray], before: np.ndarray, examples: HeldOut, what: str) -> Parity:
    """An exported file against the Keras model. run: the file. before: as `as_graft_does`. what: for the progress."""
    n = len(examples.targets)
    # All of one size before those of many sizes, for which runtimes plan anew.
    same = np.concatenate([run(one[None]) for one in examples.prepared()])
    after = np.concatenate([run(one[None]) for one in track(examples.given(), n, what, unit=examples.kind.nouns)])
    said, says, on_same = (probabilities.argmax(axis=1) for probabilities in (before, after, same))
    return Parity(
        agreement=float(np.mean(said == says)),
        largest_difference=float(np.abs(before - after).max()),
        pairs=paired.count(said == examples.targets, says == examples.targets),
        same_agreement=float(np.mean(said == on_same)),
        same_difference=float(np.abs(before - same).max()),
    )
