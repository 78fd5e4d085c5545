"""Heads whose last layer is the solution of a convex problem: no rate to choose, and the same for every seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from graft.convex import logistic, ridge, system
from graft.convex.system import Runner
from graft.models import heads
from graft.runtime.progress import say
from graft.training import fit as training
from graft.training import history, shards
from graft.training.batches import Examples

if TYPE_CHECKING:
    import keras

    from graft.config.schema import TrainParams
    from graft.examples.dataset import Dataset
    from graft.features.store import Meta, Stored

Read = Callable[[np.ndarray], np.ndarray]
"""Numbers of rows (b,) -> what the last layer reads of each of their views, (b, v, d) float32; of examples as they are
alone (b, d)."""

Solution = tuple[np.ndarray, np.ndarray]
"""Kernel (d, c) and bias (c,) of the last layer."""


Runners = Callable[[np.ndarray], Runner]
"""Numbers of rows (n,) -> what works on the blocks of a problem whose examples these are."""


def here(rows: np.ndarray) -> Runner:
    """This process does."""
    return system.here


def fit(
    head: keras.Model,
    p: TrainParams,
    data: Dataset,
    features: Stored,
    on_epoch: training.OnEpoch,
    runners: Runners = here,
) -> pd.DataFrame:
    """Solve for the last layer of a head of SOLVERS, in place; returns a history of one row, as `training.fit` does.

    With `p.refit` it is solved once more for training and validation examples together; the history is the first one's.
    Raises TrainingError where there is nothing to learn from.
    """
    examples, n_classes = data.of("train"), len(data.classes)
    training.require_examples(examples)
    fetch = features.plain if p.head in AS_THEY_ARE else features.every
    layer, read = head.get_layer(heads.LAST), reader(lambda: head, features, fetch)

    def solve(examples: Examples) -> None:
        of_class = training.class_weights(p.class_weights, examples.targets, n_classes)
        weights = examples.weights * of_class[examples.targets]
        layer.set_weights(SOLVERS[p.head](read, examples, weights, n_classes, features.meta, runners))

    solve(examples)
    metrics = training.judged(head, n_classes, examples, features.plain)
    held_out = training.judged(head, n_classes, data.of("validation"), features.plain)
    metrics |= {f"val_{name}": value for name, value in held_out.items()}
    on_epoch(1, metrics)
    if p.refit:
        say("refit: once more for training and validation examples")
        solve(data.seen)
    row = {"epoch": 1, "steps": 1, "learning_rate": 0.0, **metrics, "best": 1}
    return pd.DataFrame([row]).reindex(columns=list(history.COLUMNS))


def are_maps(features: Stored) -> bool:
    """Whether they are whole maps, which a head pools, rather than vectors."""
    return len(features.array.shape) > 3


def reader(build_head: Callable[[], keras.Model], features: Stored, fetch: Read) -> Read:
    """Features, as `fetch` gives them, as the last layer of a head reads them: pooled, where whole maps are stored."""
    if not are_maps(features):
        return fetch
    import keras

    head = build_head()
    below = keras.Model(head.input, head.get_layer(heads.LAST).input)

    def read(rows: np.ndarray) -> np.ndarray:
        maps = fetch(rows)
        of_one = head.input_shape[1:]
        return shards.predict(below, maps.reshape(-1, *of_one)).reshape(*maps.shape[: -len(of_one)], -1)

    return read


def _ridge(
    read: Read, examples: Examples, weights: np.ndarray, n_classes: int, meta: Meta, runners: Runners
) -> Solution:
    return _least_squares("ridge", read, examples, weights, n_classes, None, runners)


def _taps(
    read: Read, examples: Examples, weights: np.ndarray, n_classes: int, meta: Meta, runners: Runners
) -> Solution:
    """Ridge over the layers of `extract.taps: all`, each of which weighs alike."""
    scale = ridge.by_group(meta.output["widths"])
    return _least_squares("taps", read, examples, weights, n_classes, scale, runners)


def _least_squares(
    name: str,
    read: Read,
    examples: Examples,
    weights: np.ndarray,
    n_classes: int,
    scale: np.ndarray | None,
    runners: Runners,
) -> Solution:
    found = ridge.solve(
        lambda part: read(examples.rows[part]),
        examples.targets,
        weights,
        n_classes,
        scale,
        runners(examples.rows),
    )
    right = (found.left_out == examples.targets).mean()
    say(
        f"{name}: penalty {found.penalty:.3g} and temperature {found.temperature:.3g}, chosen on training examples "
        f"left out one by one: accuracy {right:.4f}, log loss {found.log_loss:.4f}"
    )
    return found.kernel, found.bias


def _logistic(
    read: Read, examples: Examples, weights: np.ndarray, n_classes: int, meta: Meta, runners: Runners
) -> Solution:
    """On examples as they are: with five views besides, it took six times as long and was no better (digits)."""
    found = logistic.solve(lambda part: read(examples.rows[part]), examples.targets, weights, n_classes)
    say(
        f"logistic: penalty {found.penalty:.3g}, chosen on {logistic.FOLDS} folds of the training examples: "
        f"log loss {found.log_loss:.4f}"
    )
    return found.kernel, found.bias


AS_THEY_ARE = ("logistic",)
"""Heads that are solved for examples as they are, without their views."""

SOLVERS: dict[str, Callable[[Read, Examples, np.ndarray, int, Meta, Runners], Solution]] = {
    "ridge": _ridge,
    "logistic": _logistic,
    "taps": _taps,
}
"""Name of a head -> (what its last layer reads, training examples, their weights, number of classes, what the features
are, what works on blocks) -> solution."""
