"""What a user should know about a split."""

from __future__ import annotations

import pandas as pd

from graft.errors import DataError, listing
from graft.examples.sources.base import SPLITS
from graft.examples.split import UNUSED

ENOUGH, FAR = 20, 0.1
"""From so many images on, a class whose share of a part is so far from the fraction is worth a word."""

RARE = 50
"""A class this many times smaller than the commonest is worth a word."""


def of(table: pd.DataFrame, kind: str) -> list[str]:
    """One line per kind of trouble that a class is in. Raises DataError where a class has no training examples.

    kind: of the examples, for messages.
    """
    counts = pd.crosstab(table["label"], table["split"]).reindex(columns=[*SPLITS, UNUSED], fill_value=0)
    images = counts.sum(axis=1)
    untrained = counts.index[counts["train"] == 0]
    if len(untrained):
        raise DataError(
            f"data.path: every class must have training {kind}s. None for: {listing(untrained)}. "
            f"Add {kind}s, merge classes with data.classes, or drop them there."
        )
    notes = []
    single = counts.index[images == 1]
    if len(single):
        notes.append(
            f"one {kind} only, which trains and is never tested: {listing(single)}. Add {kind}s, merge with "
            "data.classes, or set data.min_images_per_class: 3"
        )
    for name in ("validation", "test"):
        lacking = counts.index[(counts[name] == 0) & (images > 1)]
        if len(lacking) == len(counts):
            notes.append(f"no {name} {kind}s at all")
        elif len(lacking):
            notes.append(
                f"no {name} {kind}s of: {listing(lacking)}. Its metrics say nothing of them; add {kind}s, merge with "
                "data.classes, or drop them there"
            )
    rare = [f"{label} ({n})" for label, n in images.items() if 1 < n < images.max() / RARE]
    if rare:
        notes.append(
            f"over {RARE} times rarer than {images.idxmax()} ({images.max()}): {listing(rare)}. Add {kind}s, merge "
            "with data.classes, set data.max_images_per_class, or weigh with class_weights: balanced"
        )
    return notes


def far_from(used: pd.DataFrame, sides: pd.Series, fractions: dict[str, float]) -> list[str]:
    """Classes in which large units keep a part from its share."""
    shares = pd.crosstab(used["label"], sides, normalize="index").reindex(columns=list(fractions), fill_value=0)
    images = used["label"].value_counts()
    far = [
        f"{label} ({', '.join(f'{name} {shares.loc[label, name]:.2f}' for name in fractions)})"
        for label in shares.index
        if images[label] >= ENOUGH and (shares.loc[label] - pd.Series(fractions)).abs().max() > FAR
    ]
    if not far:
        return []
    return [f"far from data.split.fractions, since copies or groups stay together: {listing(far)}"]
