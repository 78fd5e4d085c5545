"""The gate: an exported file, run by its own runtime on the bytes of images, against the Keras model as graft runs it.

The file gets what a caller with no more than Pillow would give it: the image decoded in full and turned upright. graft
itself decodes a JPEG near the size that is wanted; what that makes of the difference is in the figures, too.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from graft.runtime.cores import available
from graft.runtime.prefetch import prefetched
from graft.runtime.progress import track
from graft.serving.classifier import Classifier
from graft.verdicts import paired

CHUNK = 64
AHEAD = 16
"""Images decoded before they are asked for: in full, they are large."""


@dataclass(frozen=True)
class HeldOut:
    """Images that a model is judged on. read: the bytes of the i-th file, from several threads. targets: (n,) int64."""

    read: Callable[[int], bytes]
    targets: np.ndarray

    def files(self) -> Iterator[bytes]:
        """In order, read ahead."""
        return prefetched(self.read, range(len(self.targets)), available(), CHUNK)

    def pictures(self) -> Iterator[np.ndarray]:
        """Each as `upright` gives it."""
        return prefetched(lambda i: upright(self.read(i)), range(len(self.targets)), available(), AHEAD)


@dataclass(frozen=True)
class Parity:
    """agreement: share of images with the same label. largest_difference: of any probability. pairs: A is Keras."""

    agreement: float
    largest_difference: float
    pairs: paired.Paired

    @property
    def drop(self) -> float:
        """Accuracy lost, in [-1, 1]."""
        return -self.pairs.difference

    def figures(self) -> dict[str, float]:
        """As metrics/export has them."""
        n = self.pairs.images
        return {
            "images": n,
            "accuracy": self.pairs.b_right / n,
            "keras_accuracy": self.pairs.a_right / n,
            "agreement": self.agreement,
            "largest_probability_difference": self.largest_difference,
            "mcnemar_p": paired.mcnemar(self.pairs),
        }


def upright(data: bytes) -> np.ndarray:
    """(h, w, 3) uint8: the whole image, RGB."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def as_graft_does(classifier: Classifier, images: HeldOut) -> np.ndarray:
    """(n, n_classes) probabilities of the Keras model."""

    def chunks() -> Iterator[list[bytes]]:
        chunk: list[bytes] = []
        for data in images.files():
            chunk.append(data)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    n = len(images.targets)
    return np.concatenate([classifier.probabilities(one) for one in track(chunks(), n, "Keras model", len)])


def as_exported(run: Callable[[np.ndarray], np.ndarray], images: HeldOut, what: str) -> np.ndarray:
    """(n, n_classes) probabilities of an exported file. what: for the progress."""
    return np.concatenate([run(one[None]) for one in track(images.pictures(), len(images.targets), what)])


def compared(before: np.ndarray, after: np.ndarray, targets: Sequence[int] | np.ndarray) -> Parity:
    """before, after: (n, n_classes) probabilities of the Keras model and of the exported file; n at least 1."""
    said, says = before.argmax(axis=1), after.argmax(axis=1)
    return Parity(
        float(np.mean(said == says)),
        float(np.abs(before - after).max()),
        paired.count(said == targets, says == targets),
    )
