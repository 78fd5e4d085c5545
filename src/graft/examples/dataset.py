"""What training and evaluation need to know of the examples: which are used, their classes, their sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from graft.examples import catalogue, split
from graft.runtime import memory
from graft.runtime.progress import say
from graft.training import shards
from graft.training.batches import Examples
from graft.training.fit import OnEpoch, fit

if TYPE_CHECKING:
    import keras

    from graft.config.schema import Optimization
    from graft.examples.sources.base import SplitName
    from graft.features.store import Views


@dataclass(frozen=True)
class Dataset:
    """used: as `catalogue.used` gives them, in the order of every array. classes: in the order of the model's outputs.

    targets: (n,) int64 class numbers. sides: which rows train, validate and test, and the weight of each one's loss.
    """

    used: pd.DataFrame
    classes: list[str]
    targets: np.ndarray
    sides: split.Split

    @property
    def sha256s(self) -> pd.Series:
        """The sha256 of each row's file."""
        return self.used["sha256"]

    def of(self, side: SplitName) -> Examples:
        """The examples of a side, for training."""
        return self._examples(self.sides.rows[side])

    @property
    def seen(self) -> Examples:
        """Those of training and validation together, in the order of the rows."""
        return self._examples(np.sort(np.concatenate([self.sides.rows["train"], self.sides.rows["validation"]])))

    @property
    def none(self) -> Examples:
        """No example."""
        return self._examples(np.empty(0, np.int64))

    def _examples(self, rows: np.ndarray) -> Examples:
        return Examples(rows, self.targets[rows], self.sides.weights[rows])


def read(catalogue_path: Path, split_path: Path) -> Dataset:
    """Raises StaleError where the split belongs to another catalogue."""
    used = catalogue.used(catalogue_path)
    classes = sorted(used["label"].unique())
    data = Dataset(used, classes, split.targets(used, classes), split.read(split_path, used))
    memory.give_back()
    return data


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

    views: features, activations or pixels, a row for each of `data.used`. With `p.refit` the model is trained once more
    from where it started, to training and validation examples, as far as the best epoch; the history is the first one.
    """

    def fitted(p: Optimization, train: Examples, validation: Examples, **more: Any) -> pd.DataFrame:
        return fit(
            model,
            p,
            seed,
            len(data.classes),
            train,
            lambda rows, epoch: views.drawn(rows, seed, epoch),
            validation,
            lambda rows, epoch: views.plain(rows),
            **more,
        )

    start = model.get_weights() if p.refit else []
    curve = fitted(p, data.of("train"), data.of("validation"), on_epoch=on_epoch, start_counts=start_counts)
    best = int(curve.loc[curve["best"] == 1, "epoch"].iloc[0])
    if p.refit and best:
        say(f"refit: once more to training and validation examples, as far as epoch {best}")
        model.set_weights(start)
        every = p.model_copy(update={"monitor": "loss", "early_stopping_patience": None})
        fitted(every, data.seen, data.none, last_epoch=best)
    return curve


def predicted(model: keras.Model, views: Views, rows: np.ndarray) -> np.ndarray:
    """(len(rows), n_classes) probabilities of examples as they are, from features, activations or pixels."""
    return shards.predict_rows(model, rows, views.plain)
