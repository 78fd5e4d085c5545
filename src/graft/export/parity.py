"""The gate: an exported file, run by its own runtime on the bytes of images, against the Keras model as graft runs it.

The file gets what a caller with no more than Pillow would give it: the image decoded in full and turned upright. graft
itself decodes a JPEG near the size that is wanted. So the file also gets graft's own pixels: what differs then is the
conversion, what differs beyond it the decoding.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image, ImageOps

from graft.inputs.image.spec import PIXELS, ImageInput
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
    """Images that a model is judged on. read: the bytes of the i-th file, from several threads. targets: (n,) int64.

    spec: how graft makes a square of an image.
    """

    read: Callable[[int], bytes]
    targets: np.ndarray
    spec: ImageInput

    def squares(self) -> Iterator[np.ndarray]:
        """(side, side, 3) uint8 each, as graft decodes and resizes."""
        return prefetched(
            lambda i: self.spec.arrays(self.read(i), "", [0])[0][PIXELS], range(len(self.targets)), available(), CHUNK
        )

    def pictures(self) -> Iterator[np.ndarray]:
        """Each as `upright` gives it."""
        return prefetched(lambda i: upright(self.read(i)), range(len(self.targets)), available(), AHEAD)


@dataclass(frozen=True)
class Parity:
    """agreement: share of images with the same label. largest_difference: of any probability. pairs: A is Keras.

    same_pixels_agreement, same_pixels_difference: likewise, where both get graft's own pixels.
    """

    agreement: float
    largest_difference: float
    pairs: paired.Paired
    same_pixels_agreement: float
    same_pixels_difference: float

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
            "same_pixels_agreement": self.same_pixels_agreement,
            "same_pixels_largest_probability_difference": self.same_pixels_difference,
        }


def upright(data: bytes) -> np.ndarray:
    """(h, w, 3) uint8: the whole image, RGB."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def as_graft_does(classifier: Classifier, images: HeldOut) -> np.ndarray:
    """(n, n_classes) probabilities of the Keras model."""

    def chunks() -> Iterator[list[np.ndarray]]:
        squares = images.squares()
        while chunk := list(islice(squares, CHUNK)):
            yield chunk

    n = len(images.targets)
    return np.concatenate([classifier.probabilities(one) for one in track(chunks(), n, "Keras model", len)])


def of(run: Callable[[np.ndarray], np.ndarray], before: np.ndarray, images: HeldOut, what: str) -> Parity:
    """An exported file against the Keras model. run: the file. before: as `as_graft_does`. what: for the progress."""
    n = len(images.targets)
    # All of one size before those of many sizes, for which runtimes plan anew.
    same = np.concatenate([run(one[None]) for one in images.squares()])
    after = np.concatenate([run(one[None]) for one in track(images.pictures(), n, what)])
    said, says, on_same = (probabilities.argmax(axis=1) for probabilities in (before, after, same))
    return Parity(
        agreement=float(np.mean(said == says)),
        largest_difference=float(np.abs(before - after).max()),
        pairs=paired.count(said == images.targets, says == images.targets),
        same_pixels_agreement=float(np.mean(said == on_same)),
        same_pixels_difference=float(np.abs(before - same).max()),
    )
