"""What training and evaluation need to know of the examples: which are used, their classes, their sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from graft.examples import catalogue, split
from graft.training import shards
from graft.training.fit import Examples, OnEpoch, fit

if TYPE_CHECKING:
    import keras

    from graft.config.schema import Optimization
    from graft.examples.sources.base import SplitName
    from graft.features.store import Views


@dataclass(frozen=True)
class Dataset:
    """used: the catalogue's used rows, in the order of every array. classes: in the order of the model's outputs.

    targets: (n,) int64 class numbers. sides: which rows train, validate and test, and the weight of each one's loss.
    """

    used: pd.DataFrame
    classes: list[str]
    targets: np.ndarray
    sides: split.Split

    @property
    def sha256s(self) -> list[str]:
        """The sha256 of each row's file."""
        return list(self.used["sha256"])

    def of(self, side: SplitName) -> Examples:
        """The examples of a side, for training."""
        rows = self.sides.rows[side]
        return Examples(rows, self.targets[rows], self.sides.weights[rows])


def read(catalogue_path: Path, split_path: Path) -> Dataset:
    """Raises StaleError where the split belongs to another catalogue."""
    images = catalogue.read(catalogue_path)
    used = images.used
    return Dataset(used, images.classes, split.targets(used, images.classes), split.read(split_path, used))


def fit_to(
    views: Views,
    data: Dataset,
    model: keras.Model,
    p: Optimization,
    seed: int,
    on_epoch: OnEpoch,
    start_counts: bool = False,
) -> pd.DataFrame:
    """As `fit`: on one view of each example in an epoch, judged on the examples as they are.

    views: features, activations or pixels, a row for each of `data.used`.
    """
    return fit(
        model,
        p,
        seed,
        len(data.classes),
        data.of("train"),
        lambda rows, epoch: views.drawn(rows, seed, epoch),
        data.of("validation"),
        lambda rows, epoch: views.plain(rows),
        on_epoch,
        start_counts,
    )


def predicted(model: keras.Model, views: Views, rows: np.ndarray) -> np.ndarray:
    """(len(rows), n_classes) probabilities of examples as they are, from features, activations or pixels."""
    return shards.predict_rows(model, rows, views.plain)
