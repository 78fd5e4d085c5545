"""The split that a source comes with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from graft.errors import DataError, listing
from graft.examples.catalogue import kind_of
from graft.examples.sources.base import SPLITS
from graft.examples.split import UNUSED
from graft.examples.splitting import methods, units

if TYPE_CHECKING:
    from graft.config.data import SplitParams


def official_sides(
    used: pd.DataFrame, official: pd.Series, unit: np.ndarray, p: SplitParams, seed: int, notes: list[str]
) -> pd.Series:
    """The source's split. Held-out parts stay as published: where a unit is in several, only its images in the
    foremost of test, validation, train are used. Parts that the source lacks are cut from train."""
    unplaced, kind = official.isna(), kind_of(used)
    if unplaced.any():
        notes.append(f"{int(unplaced.sum())} {kind}s are in no part of the official split: unused")
    order = {name: i for i, name in enumerate(("test", "validation", "train", UNUSED))}
    place = official.where(~unplaced, UNUSED).map(order)
    back = (place != place.groupby(unit).transform("min")) & ~unplaced
    sides = official.where(~unplaced & ~back, UNUSED).astype(object)
    if back.any():
        named = ", ".join(f"{n} of {name}" for name, n in official[back].value_counts().items())
        _require_own_training_examples(used["label"], official, sides, kind)
        notes.append(
            f"{int(back.sum())} {kind}s are copies, or of a group, of {kind}s on a side of the official split that is "
            f"further from training: unused ({named}): {listing(used['path'][back], 5)}"
        )
    parts = set(official.dropna())
    fractions: dict[str, float] = p.fractions.model_dump()
    missing = [name for name in SPLITS if name not in parts and fractions[name]]
    if missing == ["test"]:
        notes.append("official split without test, used whole: what the models are worth is judged on validation")
    elif missing:
        notes.append(f"official split without {' and '.join(missing)}: cut from train by data.split.fractions")
        pool = (sides == "train").to_numpy()
        cut = methods.cut(
            units.ranked(used[pool], unit[pool], seed), {name: fractions[name] for name in ("train", *missing)}
        )
        sides[pool] = cut[unit[pool]]
    return sides


def _require_own_training_examples(labels: pd.Series, official: pd.Series, sides: pd.Series, kind: str) -> None:
    """Raises DataError where all training examples of a class are copies of held-out ones."""
    given, kept = labels[official == "train"], set(labels[sides == "train"])
    none_left = given[~given.isin(kept)].value_counts().sort_index()
    if len(none_left):
        raise DataError(
            f"data.path: every class must have training {kind}s. All of the official training part are copies, or of a "
            f"group, of validation or test {kind}s, of "
            + listing(f"{label} ({n})" for label, n in none_left.items())
            + ". duplicates.csv beside the catalogue lists copies. Take them out of the held-out parts, add other "
            f"training {kind}s, or let graft split: data.split.method: fractions."
        )
