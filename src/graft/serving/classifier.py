"""A model file and its card as one thing that says what an image shows, or a text means.

Nothing of params.yaml is read: classes, and how an example becomes the network's input, are the card's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft import inputs
from graft.errors import DataError
from graft.inputs.batches import stacked
from graft.inputs.spec import UndecodableError
from graft.serving.kinds import KINDS
from graft.training import shards

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from graft.inputs.spec import Arrays

MODEL, CARD = "model.keras", "card.json"

TOP_K = 5

ANSWER = ("label", "probability", "top_labels", "top_probabilities")
"""What is said of an example."""


class Classifier:
    """network: pixels (n, side, side, 3) in [0, 255], or tokens (n, length, 2), -> probabilities (n, n_classes).

    card: as `finetune` wrote it.
    """

    def __init__(self, network: keras.Model, card: Mapping[str, Any]) -> None:
        self.card = dict(card)
        self.classes: list[str] = list(card["classes"])
        self.network = network
        self.input = inputs.KINDS[card["input"]["kind"]].from_dict(card["input"])
        self.kind = KINDS[self.input.kind]

    @staticmethod
    def read(folder: Path) -> Classifier:
        """From a folder that holds `model.keras` and `card.json`."""
        import keras

        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        KINDS[card["input"]["kind"]].before_loading()
        return Classifier(keras.models.load_model(folder / MODEL, compile=False), card)

    def predict(self, examples: Any, top_k: int = TOP_K) -> pd.DataFrame:
        """A row an example, columns label, probability, top_labels and top_probabilities (lists, the likeliest first).

        examples: of a model on images, the bytes of an image file, a `pathlib.Path`, an array (h, w), (h, w, 1 | 3 | 4)
            or (n, h, w, 1 | 3 | 4) of any size with values in [0, 255], or a list of those. Of a model on texts, a str,
            or a pair of them where it was trained on pairs, the bytes of a text, a `pathlib.Path`, or a list of those.
            A str is never opened as a path. Raises DataError where one is none of these, or cannot be used.
        """
        import pandas as pd

        return pd.DataFrame(answers(self.classes, self.probabilities(examples), top_k), columns=list(ANSWER))

    def probabilities(self, examples: Any) -> np.ndarray:
        """(n, n_classes) float32, columns in the order of `classes`. examples: as `predict` takes them."""
        found = [self.example(one, place) for place, one in enumerate(self.kind.single(examples, self.input), start=1)]
        if not found:
            return np.empty((0, len(self.classes)), np.float32)
        (batch,) = stacked([(("", 0), arrays) for arrays in found])[1].values()
        return shards.predict(self.network, batch.astype(np.float32))

    def arrays(self, data: bytes) -> Arrays:
        """What the network reads of the bytes of a file. Raises UndecodableError, also where it is too large."""
        self.kind.require(data, self.input)
        return self.input.arrays(data, "", [0])[0]

    def example(self, one: Any, place: int) -> Arrays:
        """What the network reads of one example, as `predict` takes them. place: from 1, for a message."""
        where = f"{self.input.kind} {place}"
        if isinstance(one, Path):
            try:
                one = one.read_bytes()
            except OSError as error:
                raise DataError(f"{where}: {one} cannot be read. Got: {error.strerror}.") from None
        try:
            if isinstance(one, bytes | bytearray | memoryview):
                return self.arrays(bytes(one))
            return self.kind.in_memory(one, place, self.input)
        except UndecodableError as error:
            raise DataError(f"{where}: must be {self.kind.whole}. Got: {error}.") from None


def answers(classes: Sequence[str], probabilities: np.ndarray, top_k: int = TOP_K) -> list[dict[str, Any]]:
    """For each row of (n, n_classes) what `predict` gives; of equally likely classes the earlier one is first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : max(1, top_k)]
    best = np.take_along_axis(probabilities, order, axis=1).astype(np.float64).tolist()
    labels = [[classes[number] for number in row] for row in order]
    return [
        dict(zip(ANSWER, (names[0], values[0], names, values), strict=True))
        for names, values in zip(labels, best, strict=True)
    ]
