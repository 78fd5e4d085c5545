"""Which images train, validate and test: a CSV with the columns path, label, split.

Without an official split, the images of each class are ordered by a hash of the seed and their
content and cut at the fractions, so an image's side depends on its content and few others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from graft.data.sources.base import SPLITS, SplitName
from graft.errors import DataError, StaleError

COLUMNS = ("path", "label", "split")


def make(
    used: pd.DataFrame,
    official: Mapping[str, SplitName | None],
    fractions: Mapping[str, float],
    seed: int,
) -> tuple[pd.DataFrame, list[str]]:
    """The split of the catalogue's used images, and what a user should know about it.

    official: path -> split, None where the source has none. An official split is used as it is;
    where it lacks validation or test, these are cut from its train part in the given proportions.
    Raises DataError where a class is too small to be in all three.
    """
    sides = used["path"].map(dict(official))
    present = [name for name in SPLITS if (sides == name).any()]
    missing = [name for name in SPLITS if name not in present]
    notes = []
    if present and missing:
        notes.append(f"official split without {' and '.join(missing)}: cut from train by data.fractions")
    if missing:
        pool = used if not present else used[sides == "train"]
        names: list[SplitName] = ["train", *(name for name in missing if name != "train")]
        cut = _stratified(pool, {name: fractions[name] for name in names}, seed)
        sides = cut.reindex(used.index).combine_first(sides) if present else cut
    split = pd.DataFrame({"path": used["path"], "label": used["label"], "split": sides})
    notes += _require_classes(split)
    return split, notes


def _stratified(rows: pd.DataFrame, fractions: Mapping[str, float], seed: int) -> pd.Series:
    """Byte-identical copies of an image rank as one and stay on one side."""
    sides = pd.Series(index=rows.index, dtype=object)
    held_out = [name for name in fractions if name != "train"]
    small = []
    for label, group in rows.groupby("label", sort=True):
        copies = group.groupby("sha256").groups
        ranked = sorted(copies, key=lambda sha256: hashlib.sha256(f"{seed}:{sha256}".encode()).digest())
        if len(ranked) < len(fractions):
            small.append(f"{label} ({len(ranked)})")
            continue
        sides[group.index] = "train"
        for i, name in enumerate(held_out, start=1):
            wanted = max(1, round(len(group) * fractions[name] / sum(fractions.values())))
            still_to_fill = len(fractions) - i
            while wanted > 0 and len(ranked) > still_to_fill:
                images = copies[ranked.pop(0)]
                sides[images] = name
                wanted -= len(images)
    if small:
        raise DataError(
            f"data.fractions: every class must have at least {len(fractions)} different images, one for each of "
            f"{', '.join(fractions)}. Too small: {', '.join(small)}. Add images or remove the class."
        )
    return sides


def _require_classes(split: pd.DataFrame) -> list[str]:
    counts = pd.crosstab(split["label"], split["split"]).reindex(columns=list(SPLITS), fill_value=0)
    untrained = list(counts.index[counts["train"] == 0])
    if untrained:
        raise DataError(
            f"data.path: every class must have training images. None for: {', '.join(untrained)}. "
            "Add them, or remove these directories from validation and test."
        )
    return [
        f"no {name} images for: {', '.join(counts.index[counts[name] == 0])}"
        for name in SPLITS
        if (counts[name] == 0).any()
    ]


def write(split: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    split.to_csv(path, index=False, lineterminator="\n", columns=list(COLUMNS))


def read(path: Path, used: pd.DataFrame) -> dict[SplitName, np.ndarray]:
    """split -> row numbers in `used` (the catalogue's used images), int64, ascending.

    Raises StaleError unless the split holds exactly these images.
    """
    split = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(split["path"]) != list(used["path"]) or list(split["label"]) != list(used["label"]):
        raise StaleError(f"{path}: belongs to another catalogue. Run `dvc repro`.")
    return {name: np.flatnonzero(split["split"] == name) for name in SPLITS}


def targets(used: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """(n,) int64 class numbers of the catalogue's used images."""
    position = {name: i for i, name in enumerate(classes)}
    return used["label"].map(position).to_numpy(np.int64)
