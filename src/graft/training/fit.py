"""Fit a model to batches, keep its best epoch, return its history.

Where the batches come from is the caller's business: a `Fetch` gives the inputs of any rows at any
epoch, be they cached features, inputs augmented anew, or activations at a boundary.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from graft.errors import TrainingError
from graft.runtime.progress import say
from graft.training import batches, history, lengths, optimizers, precision, replicas, shards
from graft.training.batches import Batch, Examples, Fetch

if TYPE_CHECKING:
    import keras

    from graft.config.schema import Optimization

OnEpoch = Callable[[int, dict[str, float]], None]
"""(epoch from 1, its metrics) -> nothing; called as each epoch ends."""


@dataclass(frozen=True)
class Judged:
    """What a model made of some examples: losses (b,) float32, hits (b,) bool, and the weights (b,) of the losses."""

    losses: np.ndarray
    hits: np.ndarray
    weights: np.ndarray


def fit(
    model: keras.Model,
    p: Optimization,
    seed: int,
    n_classes: int,
    train: Examples,
    fetch_train: Fetch,
    validation: Examples,
    fetch_validation: Fetch,
    on_epoch: OnEpoch = lambda epoch, metrics: None,
    start_counts: bool = False,
    last_epoch: int | None = None,
) -> pd.DataFrame:
    """Train `model` in place; afterwards all its variables are those of the best epoch by `p.monitor`.

    start_counts: the model as it came is a candidate too, as epoch 0, so that training cannot make it worse.
    last_epoch: after which training ends, in the middle of its schedule; its variables are kept, whatever the monitor.

    Returns the history, a row per epoch: epoch (from 1), steps (in all), learning_rate, loss, accuracy,
    val_loss, val_accuracy, best (1 for the epoch whose weights were kept). Loss is cross-entropy over
    smoothed labels: sum(weight * loss) / sum(weight) over a batch as a step minimises it, and over all examples
    as it is reported. In the row of epoch 0, loss and accuracy are those in inference mode, and there only where
    `p.monitor` is one of them. Raises TrainingError where the monitor cannot be computed or is no number.
    """
    import keras

    _check(p, train, validation)
    steps_per_pass = math.ceil(len(train.rows) / p.batch_size)
    steps_per_epoch = p.steps_per_epoch or steps_per_pass
    total_steps = p.steps if p.steps is not None else (p.epochs or 0) * steps_per_epoch
    epochs, passes = math.ceil(total_steps / steps_per_epoch), math.ceil(total_steps / steps_per_pass)

    keras.utils.set_random_seed(seed)
    optimizer = optimizers.build(p, total_steps)
    optimizer.build(model.trainable_variables)
    train_on = _steps(model, optimizer, n_classes, p)
    judge = _judge(model, n_classes, p.label_smoothing)
    by_class = class_weights(p.class_weights, train.targets, n_classes)

    chosen = epochs if last_epoch is None else min(epochs, last_epoch)
    best = _Best(model, p)
    rows: list[dict[str, float]] = []
    done = 0
    if start_counts:
        metrics = _held_out(judge, validation, fetch_validation)
        if not p.monitor.startswith("val_"):
            metrics |= _metrics(_judged(judge, train, fetch_train))
        _check_finite(p, 0, metrics)
        rows.append({"epoch": 0, "steps": 0, "learning_rate": 0.0, **metrics})
        best.offer(0, metrics[p.monitor])
        on_epoch(0, metrics)
        say(f"before: {_shown(metrics)}")
    bar = tqdm(
        total=total_steps * p.batch_size,
        desc="training",
        unit=" examples",
        disable=not sys.stderr.isatty(),
        leave=False,
    )
    drawn = batches.of(model, train, fetch_train, p.batch_size, by_class, passes, seed)
    pace = batches.Pace()
    with closing(drawn) as steps, bar:
        for epoch in range(1, chosen + 1):
            trained = []
            for group in batches.alike(islice(steps, min(steps_per_epoch, total_steps - done)), pace):
                with pace.making(len(group)):
                    trained += train_on(group)
                bar.update(p.batch_size * len(group))
                if not done and len(trained) == 1:  # the first step brings up a graph, which no other one does
                    began = time.monotonic()
            done += len(trained)
            metrics = _metrics(trained)
            metrics |= _held_out(judge, validation, fetch_validation)
            _check_finite(p, epoch, metrics)
            rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
            rows.append({"epoch": epoch, "steps": done, "learning_rate": rate, **metrics})
            best.offer(epoch, metrics[p.monitor])
            on_epoch(epoch, {"learning_rate": rate, **metrics})
            seconds = (time.monotonic() - began) / max(done - 1, 1)
            _report(f"epoch {epoch}/{epochs}", metrics, p.batch_size, seconds, total_steps - done)
            if p.early_stopping_patience is not None and epoch - best.epoch >= p.early_stopping_patience:
                break
    if last_epoch is None:
        best.restore()
    curve = pd.DataFrame(rows)
    curve["best"] = (curve["epoch"] == best.epoch).astype(int)
    return curve.reindex(columns=list(history.COLUMNS))


def require_examples(train: Examples) -> None:
    """Raise TrainingError where there is nothing to learn from."""
    if not len(train.rows):
        raise TrainingError("the split has no training examples.")
    if not train.weights.any():
        raise TrainingError(
            f"the {len(train.rows)} training examples all have weight 0: nothing can be learnt of them."
        )


def judged(
    model: keras.Model, n_classes: int, examples: Examples, read: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    """accuracy and loss of a model in inference mode; nothing where there are no examples.

    read: row numbers (b,) -> inputs (b, ...) float32.
    """
    if not len(examples.rows):
        return {}
    return _metrics(_judged(_judge(model, n_classes, 0.0), examples, lambda rows, epoch: read(rows)))


def _check(p: Optimization, train: Examples, validation: Examples) -> None:
    """Raise TrainingError where training cannot end in a best epoch, before it has begun."""
    require_examples(train)
    if not p.monitor.startswith("val_"):
        return
    if not len(validation.rows):
        raise TrainingError(f"monitor: {p.monitor} needs validation examples, and the split has none.")
    if not validation.weights.any():
        raise TrainingError(
            f"monitor: {p.monitor} needs validation examples with a weight above 0. All {len(validation.rows)} weigh "
            "0. Give them one, or set monitor to loss or accuracy."
        )


def _check_finite(p: Optimization, epoch: int, metrics: dict[str, float]) -> None:
    for name in ("loss", p.monitor):  # of epoch 0 there may be no loss
        if name in metrics and not math.isfinite(metrics[name]):
            raise TrainingError(
                f"{name}: became {metrics[name]} in epoch {epoch}. "
                f"Lower learning_rate (it is {p.learning_rate:g}) or raise warmup_steps."
            )


def class_weights(how: str, targets: np.ndarray, n_classes: int) -> np.ndarray:
    """(n_classes,) float32: `class_weights` of params.yaml. balanced: n / (n_classes * count), as scikit-learn's
    compute_class_weight."""
    if how == "none":
        return np.ones(n_classes, np.float32)
    counts = np.bincount(targets, minlength=n_classes)
    return (len(targets) / (n_classes * np.maximum(counts, 1))).astype(np.float32)


def _steps(
    model: keras.Model, optimizer: Any, n_classes: int, p: Optimization
) -> Callable[[Sequence[Batch]], list[Judged]]:
    """A step of training on each batch of some of one shape: it changes the model's variables. Returns what the model
    made of each batch before its step.

    They are turns of a loop inside one graph: to enter and leave that takes as long as a step of a small head.
    """
    import keras
    import tensorflow as tf

    variables, devices = model.trainable_variables, replicas.found()
    per_example = tf.TensorSpec((None, None), tf.int64), tf.TensorSpec((None, None), tf.float32)
    signature = [tf.TensorSpec((None, *_inputs_of(model).shape), tf.float32), *per_example]

    def step(n_shards: int, inputs: Any, targets: Any, shares: Any) -> Any:
        with precision.computing(model, p.dtype_policy), tf.GradientTape() as tape:
            outputs = shards.apply(model, shards.cut(inputs, n_shards), training=True)
            wanted = [tf.one_hot(part, n_classes) for part in shards.cut(targets, n_shards)]
            losses = [
                keras.losses.categorical_crossentropy(target, output, label_smoothing=p.label_smoothing)
                for target, output in zip(wanted, outputs, strict=True)
            ]
            parts = zip(shards.cut(shares, n_shards), losses, strict=True)
            total = shards.added([tf.reduce_sum(share * loss) for share, loss in parts])
        # A variable's gradient is the sum over the shards, which the tape adds in the order of the walk.
        gradients = tape.gradient(total, [variable.value for variable in variables])
        optimizer.apply(gradients, variables)
        hits = tf.equal(tf.argmax(tf.concat(outputs, 0), -1), targets)
        return tf.concat(losses, 0), hits

    @cache
    def compiled(n_shards: int) -> Any:
        steps = shards.in_turn(partial(step, n_shards), (tf.float32, tf.bool))
        return shards.compiled(replicas.placed(devices, n_shards)(steps), signature)

    def run(group: Sequence[Batch]) -> list[Judged]:
        given = [(batch.inputs, batch.targets, _shares(batch.weights)) for batch in group]
        steps = compiled(shards.count(len(group[0].targets)))
        losses, hits = (one.numpy() for one in steps(*map(np.stack, zip(*given, strict=True))))
        return [Judged(losses[i], hits[i], batch.weights) for i, batch in enumerate(group)]

    return run


def _shares(weights: np.ndarray) -> np.ndarray:
    """(b,) float32: each example's share of the batch's loss. Without any weight the step learns nothing; no 0 / 0."""
    whole = math.fsum(weights)
    return (weights / whole if whole else weights).astype(np.float32)


def _judge(model: keras.Model, n_classes: int, label_smoothing: float) -> Callable[[np.ndarray, np.ndarray], Any]:
    """(inputs (b, ...), targets (b,)) -> losses and hits of the model in inference mode, (b,) each."""
    import keras
    import tensorflow as tf

    def judge(inputs: Any, targets: Any) -> Any:
        (output,) = shards.apply(model, [inputs], training=False)
        wanted = tf.one_hot(targets, n_classes)
        losses = keras.losses.categorical_crossentropy(wanted, output, label_smoothing=label_smoothing)
        return losses, tf.equal(tf.argmax(output, -1), targets)

    @cache
    def compiled() -> Any:
        return shards.compiled(judge, [_inputs_of(model), tf.TensorSpec((None,), tf.int64)])

    return lambda inputs, targets: compiled()(lengths.shortened(model, inputs), targets)


def _inputs_of(model: keras.Model) -> Any:
    import tensorflow as tf

    return tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)


def _judged(judge: Callable[[np.ndarray, np.ndarray], Any], examples: Examples, fetch: Fetch) -> Iterator[Judged]:
    """All examples, without augmentation (epoch 0) and in their own order."""

    def fetched(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return chosen, fetch(examples.rows[chosen], 0)

    for chosen, inputs in shards.in_chunks(np.arange(len(examples.rows)), fetched):
        with shards.ONE_AT_A_TIME:
            losses, hits = judge(inputs, examples.targets[chosen])
        yield Judged(losses.numpy(), hits.numpy(), examples.weights[chosen])


def _metrics(judged: Iterable[Judged]) -> dict[str, float]:
    """accuracy, which counts every example once, and the weighted mean loss: none where no example has a weight."""
    parts = list(judged)
    losses, hits, weights = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("losses", "hits", "weights")
    )
    metrics = {"accuracy": float(hits.mean())}
    if weights.any():
        # Exact: two float32 multiply in float64 without rounding, and fsum rounds once. No order of sums matters.
        metrics["loss"] = math.fsum(losses.astype(np.float64) * weights) / math.fsum(weights)
    return metrics


def _held_out(judge: Callable[[np.ndarray, np.ndarray], Any], validation: Examples, fetch: Fetch) -> dict[str, float]:
    """val_accuracy and val_loss; nothing where nothing is held out."""
    if not len(validation.rows):
        return {}
    return {f"val_{name}": value for name, value in _metrics(_judged(judge, validation, fetch)).items()}


class _Best:
    """The best epoch so far and all of the model's variables then, the moving statistics of BatchNorm too."""

    def __init__(self, model: keras.Model, p: Optimization) -> None:
        self.epoch = 0
        self._model, self._sign = model, 1 if p.monitor.endswith("accuracy") else -1
        self._min_delta = p.early_stopping_min_delta
        self._value = -math.inf
        self._weights: list[np.ndarray] = []

    def offer(self, epoch: int, monitored: float) -> None:
        """monitored: the value of `p.monitor` in this epoch, finite."""
        value = self._sign * monitored
        if value > self._value + self._min_delta:
            self._value, self.epoch = value, epoch
            self._weights = [np.copy(weight.numpy()) for weight in self._model.weights]

    def restore(self) -> None:
        for variable, value in zip(self._model.weights, self._weights, strict=True):
            variable.assign(value)


def _shown(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _report(what: str, metrics: dict[str, float], batch_size: int, seconds: float, steps_left: int) -> None:
    """seconds: of a step."""
    rate = batch_size / max(seconds, 1e-9)
    say(f"{what}: {_shown(metrics)}; {rate:.0f} examples/s, {steps_left * seconds:.0f} s left")
