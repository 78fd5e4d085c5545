"""A model file and its card as one thing that says what an image shows.

Nothing of params.yaml is read: classes, size and resizing are the card's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft import inputs
from graft.errors import DataError
from graft.inputs.image.decode import to_square
from graft.inputs.image.limits import require_pixels
from graft.inputs.image.spec import PIXELS, ImageInput
from graft.inputs.spec import UndecodableError
from graft.training import shards

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from graft.inputs.spec import Arrays

MODEL, CARD = "model.keras", "card.json"

ACCEPTED = "the bytes of an image file, a pathlib.Path, an array of pixels in [0, 255], or a list of those"

TOP_K = 5

ANSWER = ("label", "probability", "top_labels", "top_probabilities")
"""What is said of an image."""


class Classifier:
    """network: pixels (n, side, side, 3) in [0, 255] -> probabilities (n, n_classes). card: as `finetune` wrote it."""

    def __init__(self, network: keras.Model, card: Mapping[str, Any]) -> None:
        self.card = dict(card)
        self.classes: list[str] = list(card["classes"])
        self.network = network
        self.input = inputs.KINDS[card["input"]["kind"]].from_dict(card["input"])

    @staticmethod
    def read(folder: Path) -> Classifier:
        """From a folder that holds `model.keras` and `card.json`."""
        import keras

        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        return Classifier(keras.models.load_model(folder / MODEL, compile=False), card)

    def predict(self, images: Any, top_k: int = TOP_K) -> pd.DataFrame:
        """A row an image, columns label, probability, top_labels and top_probabilities (lists, the likeliest first).

        images: the bytes of an image file, a `pathlib.Path`, an array (h, w), (h, w, 1 | 3 | 4) or (n, h, w, 1 | 3 | 4)
            of any size with values in [0, 255], or a list of those. Raises DataError where one is none of these, or
            cannot be decoded; a text is never opened as a path.
        """
        import pandas as pd

        return pd.DataFrame(answers(self.classes, self.probabilities(images), top_k), columns=list(ANSWER))

    def probabilities(self, images: Any) -> np.ndarray:
        """(n, n_classes) float32, columns in the order of `classes`. images: as `predict` takes them."""
        squares = [self.example(one, place)[PIXELS] for place, one in enumerate(_single(images), start=1)]
        if not squares:
            return np.empty((0, len(self.classes)), np.float32)
        return shards.predict(self.network, np.stack(squares).astype(np.float32))

    def arrays(self, data: bytes) -> Arrays:
        """What the network reads of the bytes of a file. Raises UndecodableError, also where it is too large."""
        if isinstance(self.input, ImageInput):
            require_pixels(data)
        return self.input.arrays(data, "", [0])[0]

    def example(self, one: Any, place: int) -> Arrays:
        """What the network reads of one image, as `predict` takes them. place: from 1, for a message."""
        if isinstance(one, Path):
            try:
                one = one.read_bytes()
            except OSError as error:
                raise DataError(f"image {place}: {one} cannot be read. Got: {error.strerror}.") from None
        try:
            if isinstance(one, bytes | bytearray | memoryview):
                return self.arrays(bytes(one))
            if isinstance(one, np.ndarray) and isinstance(self.input, ImageInput):
                return {PIXELS: to_square(_pixels(one, place), self.input.resizing)}
        except UndecodableError as error:
            raise DataError(f"image {place}: must be a whole image file. Got: {error}.") from None
        hint = "; a text is not opened as a path, give pathlib.Path(text)" if isinstance(one, str) else ""
        raise DataError(f"image {place}: must be {ACCEPTED}. Got {type(one).__name__}{hint}.")


def answers(classes: Sequence[str], probabilities: np.ndarray, top_k: int = TOP_K) -> list[dict[str, Any]]:
    """For each row of (n, n_classes) what `predict` gives; of equally likely classes the earlier one is first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : max(1, top_k)]
    best = np.take_along_axis(probabilities, order, axis=1).astype(np.float64).tolist()
    labels = [[classes[number] for number in row] for row in order]
    return [
        dict(zip(ANSWER, (names[0], values[0], names, values), strict=True))
        for names, values in zip(labels, best, strict=True)
    ]


def _single(images: Any) -> Iterator[Any]:
    """One image after the other."""
    if isinstance(images, np.ndarray) and images.ndim == 4:
        yield from images
    elif isinstance(images, Iterable) and not isinstance(images, str | bytes | bytearray | memoryview | np.ndarray):
        for one in images:
            yield from _single(one) if isinstance(one, np.ndarray) else [one]
    else:
        yield images


def _pixels(array: np.ndarray, place: int) -> np.ndarray:
    """(h, w) or (h, w, 1 | 3 | 4) as uint8, rounded."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or not array.size:
        raise DataError(
            f"image {place}: an array must be (height, width) or (height, width, 1, 3 or 4). Got shape {array.shape}."
        )
    if array.dtype.kind not in "uif":
        raise DataError(f"image {place}: an array must hold numbers in [0, 255]. Got dtype {array.dtype}.")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 255):
        raise DataError(f"image {place}: pixels must lie in [0, 255]. Got values from {low:g} to {high:g}.")
    if array.dtype.kind == "f" and 0 < high <= 1:
        raise DataError(f"image {place}: pixels must lie in [0, 255], and these lie in [0, 1]. Multiply them by 255.")
    return np.round(array).astype(np.uint8)
