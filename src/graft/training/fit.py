"""Fit a model to batches, keep its best epoch, return its history.

Where the batches come from is the caller's business: a `Fetch` gives the inputs of any rows at any
epoch, be they cached features, pixels augmented anew, or activations at a boundary.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm

from graft.errors import TrainingError
from graft.runtime.progress import say
from graft.training import optimizers

if TYPE_CHECKING:
    import keras

COLUMNS = ("epoch", "steps", "learning_rate", "accuracy", "loss", "val_accuracy", "val_loss", "best")
"""Of a history."""

Fetch = Callable[[np.ndarray, int], np.ndarray]
"""(row numbers (b,), epoch from 0) -> inputs (b, ...)."""

OnEpoch = Callable[[int, dict[str, float]], None]
"""(epoch from 1, its metrics) -> nothing; called as each epoch ends."""


Batch = tuple[np.ndarray, ...]
"""inputs (b, ...), targets (b, n_classes), weights (b,): all float32."""

MOST_BATCHES, MOST_BYTES = 16, 2**24
"""That are made at a time."""

JUDGED_BYTES = 2**21
"""Of validation inputs in one step, of up to MOST_BATCHES batches: a small head's step costs the same for all."""


class FitValues(optimizers.OptimizerValues, Protocol):
    """The part of a training section that is read here."""

    @property
    def batch_size(self) -> int: ...
    @property
    def epochs(self) -> int | None: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def label_smoothing(self) -> float: ...
    @property
    def class_weights(self) -> str: ...
    @property
    def monitor(self) -> str: ...
    @property
    def early_stopping_patience(self) -> int | None: ...
    @property
    def early_stopping_min_delta(self) -> float: ...


@dataclass(frozen=True)
class Examples:
    """rows: row numbers (n,) for `fetch`. Parallel to them: targets, (n,) int64; weights, (n,) float32, of the loss."""

    rows: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def fit(
    model: keras.Model,
    p: FitValues,
    seed: int,
    n_classes: int,
    train: Examples,
    fetch_train: Fetch,
    validation: Examples,
    fetch_validation: Fetch,
    on_epoch: OnEpoch = lambda epoch, metrics: None,
) -> pd.DataFrame:
    """Train `model` in place; afterwards it has the weights of the best epoch by `p.monitor`.

    Returns the history, a row per epoch: epoch (from 1), steps (in all), learning_rate, loss, accuracy,
    val_loss, val_accuracy, best (1 for the epoch whose weights were kept). Loss is cross-entropy over
    smoothed labels. Raises TrainingError where the monitor cannot be computed or the loss is no number.
    """
    import keras
    import tensorflow as tf

    if p.monitor.startswith("val_") and not len(validation.rows):
        raise TrainingError(f"monitor: {p.monitor} needs validation images, and the split has none.")
    if not len(train.rows):
        raise TrainingError("the split has no training images.")
    steps_per_epoch = math.ceil(len(train.rows) / p.batch_size)
    total_steps = p.steps if p.steps is not None else (p.epochs or 0) * steps_per_epoch
    epochs = math.ceil(total_steps / steps_per_epoch)

    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    model.compile(
        optimizer=optimizers.build(p, total_steps),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=p.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    weights = _class_weights(p.class_weights, train.targets, n_classes)
    keeper = _keep_best(p, total_steps, epochs, on_epoch)
    example = fetch_train(train.rows[:1], 0)[0]
    held_out = None
    if len(validation.rows):
        judged = _at_a_time(p.batch_size, example, JUDGED_BYTES)
        n_batches = math.ceil(len(validation.rows) / judged)
        held_out = _dataset(
            judged, n_batches, example, lambda size: _once(validation, fetch_validation, size, n_classes)
        )
    model.fit(
        _dataset(
            p.batch_size,
            tf.data.INFINITE_CARDINALITY,
            example,
            lambda size: _endless(train, fetch_train, size, n_classes, weights, seed),
        ),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        validation_data=held_out,
        callbacks=[keeper],
        shuffle=False,
        verbose=0,
    )
    return keeper.finish(model)  # type: ignore[no-any-return]


def _class_weights(how: str, targets: np.ndarray, n_classes: int) -> np.ndarray:
    """(n_classes,) float32. balanced: n / (n_classes * count), as scikit-learn's compute_class_weight."""
    if how == "none":
        return np.ones(n_classes, np.float32)
    counts = np.bincount(targets, minlength=n_classes)
    return (len(targets) / (n_classes * np.maximum(counts, 1))).astype(np.float32)


def _endless(
    examples: Examples, fetch: Fetch, size: int, n_classes: int, weights: np.ndarray, seed: int
) -> Callable[[], Iterator[Batch]]:
    """`size` or less of (inputs, one-hot targets, weights), epoch after epoch, each in an order of its own."""

    def parts() -> Iterator[Batch]:
        one_hot = np.eye(n_classes, dtype=np.float32)
        epoch = 0
        while True:
            order = np.random.default_rng([seed, epoch]).permutation(len(examples.rows))
            for start in range(0, len(order), size):
                chosen = order[start : start + size]
                target = examples.targets[chosen]
                yield fetch(examples.rows[chosen], epoch), one_hot[target], weights[target] * examples.weights[chosen]
            epoch += 1

    return parts


def _once(examples: Examples, fetch: Fetch, size: int, n_classes: int) -> Callable[[], Iterator[Batch]]:
    def parts() -> Iterator[Batch]:
        one_hot = np.eye(n_classes, dtype=np.float32)
        for start in range(0, len(examples.rows), size):
            rows, target = examples.rows[start : start + size], examples.targets[start : start + size]
            yield fetch(rows, 0), one_hot[target], examples.weights[start : start + size]

    return parts


def _at_a_time(batch_size: int, example: np.ndarray, most_bytes: int) -> int:
    """Examples in 1 to MOST_BATCHES batches whose inputs take no more than `most_bytes`. example: one input."""
    return batch_size * max(1, min(MOST_BATCHES, most_bytes // (batch_size * example.nbytes)))


def _dataset(
    batch_size: int, n_batches: int, example: np.ndarray, parts: Callable[[int], Callable[[], Iterator[Batch]]]
) -> Any:
    """Batches of at most `batch_size`. example: one input. parts: number of examples -> as many at a time.

    Several batches come from Python at a time, since each crossing costs as much as a step of a small head.
    """
    import tensorflow as tf

    source = parts(_at_a_time(batch_size, example, MOST_BYTES))
    signature = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in next(source()))
    dataset = tf.data.Dataset.from_generator(source, output_signature=signature)
    dataset = dataset.flat_map(lambda *part: tf.data.Dataset.from_tensors(part).rebatch(batch_size))
    return dataset.apply(tf.data.experimental.assert_cardinality(n_batches)).prefetch(2)


def _keep_best(p: FitValues, total_steps: int, epochs: int, on_epoch: OnEpoch) -> Any:
    """The one callback: counts steps, keeps the best weights, stops, reports."""
    import keras

    began = time.monotonic()
    bar = tqdm(
        total=total_steps * p.batch_size, desc="training", unit=" images", disable=not sys.stderr.isatty(), leave=False
    )

    class Keeper(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.steps = 0
            self.rows: list[dict[str, float]] = []
            self.best_epoch = 0
            self.best_value = -math.inf
            self.best_weights: list[np.ndarray] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.steps += 1
            bar.update(p.batch_size)
            if self.steps >= total_steps:
                self.model.stop_training = True

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            metrics = {name: float(value) for name, value in (logs or {}).items()}
            if p.monitor not in metrics:
                raise TrainingError(f"monitor: must be one of {', '.join(metrics)}. Got {p.monitor!r}.")
            if not math.isfinite(metrics["loss"]):
                raise TrainingError(
                    f"loss: became {metrics['loss']} in epoch {epoch + 1}. "
                    f"Lower learning_rate (it is {p.learning_rate:g}) or raise warmup_steps."
                )
            rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            self.rows.append({"epoch": epoch + 1, "steps": self.steps, "learning_rate": rate, **metrics})
            value = metrics[p.monitor] if p.monitor.endswith("accuracy") else -metrics[p.monitor]
            if value > self.best_value + p.early_stopping_min_delta:
                self.best_value, self.best_epoch = value, epoch + 1
                self.best_weights = [np.copy(w.numpy()) for w in self.model.trainable_variables]
            on_epoch(epoch + 1, {"learning_rate": rate, **metrics})
            self.report(epoch + 1, metrics)
            waited = epoch + 1 - self.best_epoch
            if p.early_stopping_patience is not None and waited >= p.early_stopping_patience:
                self.model.stop_training = True

        def report(self, epoch: int, metrics: dict[str, float]) -> None:
            seconds = time.monotonic() - began
            rate = self.steps * p.batch_size / seconds
            left = seconds / self.steps * (total_steps - self.steps)
            values = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            say(f"epoch {epoch}/{epochs}: {values}; {rate:.0f} images/s, {left:.0f} s left")

        def finish(self, model: keras.Model) -> pd.DataFrame:
            bar.close()
            for variable, value in zip(model.trainable_variables, self.best_weights, strict=True):
                variable.assign(value)
            history = pd.DataFrame(self.rows)
            history["best"] = (history["epoch"] == self.best_epoch).astype(int)
            return history.reindex(columns=list(COLUMNS))

    return Keeper()
