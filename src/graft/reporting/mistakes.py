"""What is worth a look in a model's answers: classes it mixes up, how sure it was, what fine-tuning changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graft.evaluation.metrics import Judged, expected_calibration_error, reliability
from graft.evaluation.temperature import divided
from graft.reporting.answers import Answers
from graft.verdicts import paired
from graft.verdicts.words import Compared


def confusion(judged: Judged) -> np.ndarray:
    """(n_classes, n_classes) int64 images: rows are true classes, columns predicted ones."""
    n = len(judged.classes)
    counts = np.bincount(judged.targets * n + judged.predicted, minlength=n * n)
    return counts.reshape(n, n)


@dataclass(frozen=True)
class Pair:
    """Images of one class that were taken for another. of: all images of the true class."""

    true: str
    predicted: str
    images: int
    of: int


def worst_pairs(judged: Judged, most: int) -> list[Pair]:
    """Most images first, then the largest share of the true class, then by name."""
    counts = confusion(judged)
    totals = counts.sum(axis=1)
    names = list(judged.classes)
    found = [
        Pair(names[row], names[column], int(counts[row, column]), int(totals[row]))
        for row, column in zip(*np.nonzero(counts), strict=True)
        if row != column
    ]
    return sorted(found, key=lambda pair: (-pair.images, -pair.images / pair.of, pair.true, pair.predicted))[:most]


def surest_wrong(answers: Answers, most: int) -> list[int]:
    """Places of the mistakes that the model was most confident of, in that order."""
    return _places(answers, ~answers.right, -answers.confidence, most)


def least_sure_right(answers: Answers, most: int) -> list[int]:
    """Places of the right answers that the model was least confident of, in that order."""
    return _places(answers, answers.right, answers.confidence, most)


def _places(answers: Answers, chosen: np.ndarray, by: np.ndarray, most: int) -> list[int]:
    """Equal ones by the images' paths."""
    places = [int(place) for place in np.flatnonzero(chosen)]
    return sorted(places, key=lambda place: (by[place], answers.paths[place]))[:most]


@dataclass(frozen=True)
class Bin:
    """Answers whose confidence is in (low, high]. confidence, accuracy: their means, in [0, 1]."""

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """bins: of equal width, from 0 to 1. error: the expected calibration error."""

    bins: list[Bin]
    error: float


def reliable(judged: Judged) -> Reliability:
    """As the model ships."""
    edges, counts, confidences, accuracies = reliability(judged)
    values = zip(edges, edges[1:], counts, confidences, accuracies, strict=False)
    bins = [Bin(float(a), float(b), int(n), float(c), float(r)) for a, b, n, c, r in values]
    return Reliability(bins, expected_calibration_error(judged))


def before_temperature(judged: Judged) -> Reliability | None:
    """As it was before its logits were divided; None where they were not."""
    if judged.temperature is None:
        return None
    return reliable(replace(judged, probabilities=divided(judged.probabilities, 1 / judged.temperature)))


@dataclass(frozen=True)
class Sides:
    """The model that ships, B, against the other one, A, on the same images.

    gained, lost: places, among B's answers, of images that only B, and only A, has right; those that the one who has
    it wrong was surest of first.
    """

    first: str
    second: str
    pairs: paired.Paired
    p: float
    verdict: Compared
    gained: list[int]
    lost: list[int]
    first_answers: Answers


def sides(first: str, a: Answers, second: str, b: Answers) -> Sides:
    """first, second: the names of the models. a, b: what they said of the same images, in any order."""
    place = {path: number for number, path in enumerate(a.paths)}
    order = [place[path] for path in b.paths]
    there = replace(a.judged, probabilities=a.judged.probabilities[order], targets=a.judged.targets[order])
    a = Answers(b.paths, there)
    pairs = paired.count(a.right, b.right)
    return Sides(
        first,
        second,
        pairs,
        paired.mcnemar(pairs),
        paired.verdict(pairs, b.judged.confidence),
        gained=_places(b, b.right & ~a.right, -a.confidence, len(b.paths)),
        lost=_places(b, a.right & ~b.right, -b.confidence, len(b.paths)),
        first_answers=a,
    )


def per_class(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """name, precision, recall, f1, images of each class that has images or was predicted; the lowest F1 first."""
    rows = [{"name": name, **values} for name, values in figures["per_class"].items()]
    seen = [row for row in rows if row["images"] or row["precision"]]
    return sorted(seen, key=lambda row: (row["f1"], row["name"]))
