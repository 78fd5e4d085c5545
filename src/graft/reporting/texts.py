"""The texts that a page shows, with the words marked that speak for a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.examples.excerpts import beginning
from graft.explaining.occlusion import Marked, occluded
from graft.inputs.text.parts import parts
from graft.inputs.text.spec import TextInput
from graft.reporting.read import GONE, AsCatalogued, Question
from graft.runtime.progress import track
from graft.training import shards

if TYPE_CHECKING:
    import keras


def context(
    model: keras.Model,
    card: Mapping[str, Any],
    texts: AsCatalogued | None,
    paths: Sequence[str],
    questions: Sequence[Question],
) -> dict[str, Any]:
    """What the page shows of texts. paths: of all of them. without: how many of them it cannot show."""
    found = _read(texts, paths)
    spec = TextInput.from_dict(card["input"])
    marked: dict[Question, Marked] = {}
    asked = {path: [number for other, number in questions if other == path] for path, _ in questions}
    asked = {path: numbers for path, numbers in asked.items() if path in found}
    for path in track(list(asked), len(asked), "occlusion", unit="texts"):
        told = occluded(spec, found[path], lambda tokens: shards.predict(model, tokens.astype(np.float32)))
        marked |= {(path, number): told.marked(number) for number in asked[path]}
    return {
        "texts": {path: [beginning(text) for text in parts(data)] for path, data in found.items()},
        "marked": marked,
        "without": len(paths) - len(found),
    }


def _read(texts: AsCatalogued | None, paths: Sequence[str]) -> dict[str, bytes]:
    """path -> bytes, of those that are here and can be read."""
    found: dict[str, bytes] = {}
    if texts is None:
        return found
    for path in paths:
        try:
            data = texts.read(path)
            parts(data)
        except GONE:
            continue
        found[path] = data
    return found
