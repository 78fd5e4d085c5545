"""Fit a model to an array of images and their views: one view of each in an epoch, judged on the images as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graft.features import store
from graft.training.fit import Examples, FitValues, OnEpoch, fit

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from graft.data.split import Split


def fit_to(
    array: np.ndarray,
    sides: Split,
    targets: np.ndarray,
    model: keras.Model,
    p: FitValues,
    seed: int,
    n_classes: int,
    on_epoch: OnEpoch,
) -> pd.DataFrame:
    """As `fit`. array: (n, 1 + views, ...), features or activations; targets: (n,) int64; sides: of its rows."""

    def examples(rows: np.ndarray) -> Examples:
        return Examples(rows, targets[rows], sides.weights[rows])

    return fit(
        model,
        p,
        seed,
        n_classes,
        examples(sides.rows["train"]),
        lambda rows, epoch: store.drawn(array, rows, seed, epoch),
        examples(sides.rows["validation"]),
        lambda rows, epoch: store.plain(array, rows),
        on_epoch,
    )
