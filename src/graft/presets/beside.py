"""What others published for the data at hand, beside what was got here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graft.config import schema
from graft.presets import claims, files
from graft.verdicts import unpaired
from graft.verdicts.words import Compared

SPLITS = {"test_accuracy": "test", "val_accuracy": "validation"}
"""Metrics that say how many images were right -> the split in `data/evaluation.json`."""

ASIDE = ("data.path", "data.on_bad", "data.max_", "data.duplicates.near_distance")
"""Beginnings of parameters that leave the data the same where nothing is wrong with them."""


@dataclass(frozen=True)
class Beside:
    """got: our value of the published metric, None where there is none."""

    published: claims.Published
    got: float | None
    verdict: Compared


def found(params: Mapping[str, Any], judged: Mapping[str, Mapping[str, Any]], confidence: float) -> list[Beside]:
    """A row for everything that was published for the data that params.yaml names, each once.

    params: its tree. judged: of the model that ships, split -> metrics, as in `data/evaluation.json`.
    """
    entries = claims.read()
    same = [name for name in files.names() if name in entries and _data(files.get(name).values) == _data(params)]
    published = {(one.source, one.protocol): one for name in same for one in entries[name].published}
    return [_beside(one, judged, confidence) for one in published.values()]


def _data(values: Mapping[str, Any]) -> dict[str, Any]:
    leaves = schema.flattened(dict(values))
    return {key: value for key, value in leaves.items() if key.startswith("data.") and not key.startswith(ASIDE)}


def _beside(one: claims.Published, judged: Mapping[str, Mapping[str, Any]], confidence: float) -> Beside:
    metrics = judged.get(SPLITS.get(one.metric, ""))
    if metrics is None:
        return Beside(one, None, Compared.NOT_COMPARABLE)
    got, images = float(metrics["accuracy"]), int(metrics["images"])
    if one.value is None or not one.comparable:
        return Beside(one, got, Compared.NOT_COMPARABLE)
    return Beside(one, got, unpaired.verdict(round(got * images), one.value, images, confidence))
