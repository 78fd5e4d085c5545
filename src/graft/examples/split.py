"""Which images train, validate and test: a CSV with the columns path, label and split, weight and group where given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from graft.errors import StaleError
from graft.examples import csv_file
from graft.examples.sources.base import SPLITS, SplitName

COLUMNS = ("path", "label", "split")

OPTIONAL_COLUMNS = ("weight", "group")

UNUSED = "unused"
"""The side of images that are in no part: beyond the counts, beyond few_shot, or copies of held-out ones."""


def write(split: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [*COLUMNS, *(name for name in OPTIONAL_COLUMNS if name in split)]
    split.to_csv(path, index=False, lineterminator="\n", columns=columns)


@dataclass(frozen=True)
class Split:
    """rows: split -> row numbers in the catalogue's used images, int64, ascending.

    weights: (n,) float32, of each image's loss.
    """

    rows: dict[SplitName, np.ndarray]
    weights: np.ndarray


def read(path: Path, used: pd.DataFrame) -> Split:
    """Raises StaleError unless the split holds exactly the images of `used`."""
    rows: dict[SplitName, list[np.ndarray]] = {name: [np.empty(0, np.int64)] for name in SPLITS}
    weights = np.ones(len(used), np.float32)
    read = 0
    for batch in csv_file.batches(path, ()):
        some, there = batch.to_pandas(), used.iloc[read : read + len(batch)]
        if len(there) < len(some) or any((some[name].array != there[name].array).any() for name in ("path", "label")):
            break
        for name, found in rows.items():
            found.append(read + np.flatnonzero(some["split"] == name))
        if "weight" in some:
            weights[read : read + len(some)] = some["weight"].to_numpy(np.float32)
        read += len(some)
    else:
        if read == len(used):
            return Split({name: np.concatenate(found) for name, found in rows.items()}, weights)
    raise StaleError(f"{path}: belongs to another catalogue. Run `dvc repro`.")


def targets(used: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """(n,) int64 class numbers of the catalogue's used images."""
    position = {name: i for i, name in enumerate(classes)}
    codes, labels = pd.factorize(used["label"])
    return np.array([position[label] for label in labels], np.int64)[codes]
