"""The loop, on numbers: what is kept, when it stops, what the schedule says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graft.config.schema import Optimization
from graft.errors import TrainingError
from graft.models import heads
from graft.training import batches, optimizers
from graft.training.batches import Examples
from graft.training.fit import fit
from graft.training.history import COLUMNS

DEFAULT: dict[str, Any] = {
    "optimizer": "adam",
    "learning_rate": 0.01,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "clip_norm": None,
    "schedule": "constant",
    "warmup_steps": 0,
    "decay_to": 0.0,
    "batch_size": 8,
    "dtype_policy": "float32",
    "epochs": 4,
    "steps": None,
    "steps_per_epoch": None,
    "refit": False,
    "label_smoothing": 0.0,
    "class_weights": "none",
    "monitor": "val_loss",
    "early_stopping_patience": None,
    "early_stopping_min_delta": 0.0,
}


def values(**changes: Any) -> Optimization:
    return Optimization(**(DEFAULT | changes))


def blobs(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 6) features around three centres, and classes."""
    rng = np.random.default_rng(seed)
    classes = np.arange(n) % 3
    return (rng.normal(size=(n, 6)) * 0.7 + 2 * np.eye(3, 6)[classes]).astype(np.float32), classes


FEATURES, CLASSES = blobs()
TRAIN = Examples(np.arange(40), CLASSES[:40], np.ones(40, np.float32))
HELD_OUT = Examples(np.arange(40, 60), CLASSES[40:], np.ones(20, np.float32))


def fetch(rows: np.ndarray, epoch: int) -> np.ndarray:
    return FEATURES[rows]


def head(seed: int = 1) -> Any:
    return heads.build("linear", {"pooling": "avg", "dropout": 0.2}, (6,), 3, seed)


def train(p: Optimization, model: Any = None, seed: int = 0, **more: Any) -> Any:
    arguments = {"train": TRAIN, "fetch_train": fetch, "validation": HELD_OUT, "fetch_validation": fetch} | more
    return fit(head() if model is None else model, p, seed, 3, **arguments)


def loss_of(model: Any) -> float:
    p = np.asarray(model(FEATURES[HELD_OUT.rows], training=False))
    return float(-np.log(p[np.arange(20), HELD_OUT.targets]).mean())


def test_it_learns_and_says_so() -> None:
    model = head()
    before = loss_of(model)
    seen: list[tuple[int, dict[str, float]]] = []
    history = train(values(), model, on_epoch=lambda epoch, metrics: seen.append((epoch, metrics)))
    assert tuple(history.columns) == COLUMNS
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["steps"].tolist() == [5, 10, 15, 20]
    assert loss_of(model) < before
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4]
    assert seen[2][1]["val_loss"] == history["val_loss"][2]


def test_the_same_seed_is_the_same_model() -> None:
    first, same, other = head(), head(), head()
    histories = [train(values(), model, seed) for model, seed in ((first, 0), (same, 0), (other, 1))]
    assert histories[0].equals(histories[1])
    for a, b in zip(first.get_weights(), same.get_weights(), strict=True):
        assert np.array_equal(a, b)
    assert not histories[0].equals(histories[2])


def test_the_best_epoch_is_kept_not_the_last() -> None:
    """A rate that makes the loss go up: what remains is the epoch the history marks."""
    model = head()
    history = train(values(optimizer="sgd", learning_rate=4.0, momentum=0.95, epochs=8), model)
    best = int(history["val_loss"].idxmin())
    assert best < 7
    assert history.loc[history["best"] == 1, "epoch"].tolist() == [best + 1]
    assert loss_of(model) == pytest.approx(history["val_loss"][best], rel=1e-4, abs=1e-6)
    assert loss_of(model) < history["val_loss"][7]


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy", "loss", "accuracy"])
def test_a_start_that_is_better_is_kept(monitor: str) -> None:
    """Fine-tuning cannot make the model worse than the head that it starts from."""
    model = head()
    train(values(epochs=30), model)
    before = [np.copy(weight) for weight in model.get_weights()]
    curve = train(values(optimizer="sgd", learning_rate=1000.0, epochs=2, monitor=monitor), model, start_counts=True)
    assert (curve["epoch"].tolist(), curve["best"].tolist()) == ([0, 1, 2], [1, 0, 0])
    assert curve["val_loss"][0] == pytest.approx(loss_of(model), rel=1e-5)
    assert curve["loss"].notna()[0] == (not monitor.startswith("val_"))
    assert curve.loc[0, ["steps", "learning_rate"]].tolist() == [0, 0]
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_start_that_is_worse_changes_nothing_but_a_row() -> None:
    models = [head(), head()]
    curves = [train(values(), model, start_counts=counts) for model, counts in zip(models, (False, True), strict=True)]
    assert curves[1][1:].reset_index(drop=True).equals(curves[0])
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


def test_early_stopping_waits_its_patience_and_restores() -> None:
    model = head()
    p = values(optimizer="sgd", learning_rate=4.0, momentum=0.95, epochs=50, early_stopping_patience=3)
    history = train(p, model)
    best = int(history["epoch"][history["best"] == 1].iloc[0])
    assert len(history) == best + 3 < 50
    assert loss_of(model) == pytest.approx(history["val_loss"][best - 1], rel=1e-4, abs=1e-6)


def test_min_delta_is_what_counts_as_better() -> None:
    history = train(values(learning_rate=1e-5, epochs=10, early_stopping_patience=2, early_stopping_min_delta=0.5))
    assert len(history) == 3
    assert history["best"].tolist() == [1, 0, 0]


@pytest.mark.parametrize("steps", [1, 5, 7, 12])
def test_a_total_number_of_steps(steps: int) -> None:
    history = train(values(epochs=None, steps=steps))
    assert history["steps"].iloc[-1] == steps
    assert len(history) == -(-steps // 5)


def test_epochs_shorter_than_a_pass_are_judged_in_between() -> None:
    """Of 40 examples by 8, a pass has 5 steps: the batches are those of whole passes, whatever an epoch is."""
    asked: list[tuple[int, list[int]]] = []

    def recording(rows: np.ndarray, epoch: int) -> np.ndarray:
        asked.append((epoch, rows.tolist()))
        return FEATURES[rows]

    short, whole = head(), head()
    history = train(values(epochs=None, steps=10, steps_per_epoch=2), short, fetch_train=recording)
    assert history["steps"].tolist() == [2, 4, 6, 8, 10]
    assert {epoch for epoch, _ in asked} == {0, 1}
    passes = train(values(epochs=2), whole)
    assert history["val_loss"].iloc[-1] == passes["val_loss"].iloc[-1]
    assert history["best"].sum() == 1
    assert len(train(values(epochs=3, steps_per_epoch=4))) == 3


def test_every_example_once_an_epoch_in_a_new_order() -> None:
    asked: list[tuple[int, list[int]]] = []

    def recording(rows: np.ndarray, epoch: int) -> np.ndarray:
        asked.append((epoch, rows.tolist()))
        return FEATURES[rows]

    train(values(epochs=3), fetch_train=recording)
    orders = [[row for epoch, rows in asked if epoch == e for row in rows] for e in range(3)]
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert orders[0] != orders[1] != orders[2]


CONV = {"filters": 4, "kernel_size": 2, "padding": "same", "pool_size": 2, "hidden_units": 5, "dropout": 0.5}


@pytest.mark.parametrize(("epochs", "steps"), [(5, None), (None, 20)])
@pytest.mark.parametrize(
    ("name", "shape", "of_head"),
    [
        ("linear", (6,), {"pooling": "avg", "dropout": 0.2}),
        ("mlp", (6,), {"pooling": "avg", "hidden_units": [5, 4], "dropout": 0.5}),
        ("conv", (3, 2, 1), CONV),
    ],
)
def test_batches_at_a_time_change_nothing(
    name: str,
    shape: tuple[int, ...],
    of_head: dict[str, Any],
    epochs: int | None,
    steps: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Several batches that are fetched together, and trained on in one call: the same to the last bit."""

    def maps(rows: np.ndarray, epoch: int) -> np.ndarray:
        return FEATURES[rows].reshape(-1, *shape)

    p = values(epochs=epochs, steps=steps, batch_size=3, learning_rate=0.1, schedule="cosine")
    together, alone = (heads.build(name, of_head, shape, 3, 1) for _ in range(2))
    first = train(p, together, fetch_train=maps, fetch_validation=maps)
    monkeypatch.setattr("graft.training.batches.MOST_BATCHES", 1)
    assert train(p, alone, fetch_train=maps, fetch_validation=maps).equals(first)
    for one, other in zip(together.weights, alone.weights, strict=True):
        assert np.array_equal(one, other)


def test_a_call_makes_no_more_steps_than_take_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at first, which brings up a graph; and of another shape, or of many bytes, none with those before."""
    clock = iter([0.0, 9.0, 9.0390625, 10.0, 10.625, 20.0, 20.0])
    monkeypatch.setattr(batches.time, "monotonic", lambda: next(clock))
    pace, most = batches.Pace(), []
    for n_steps in (1, 1, 5, 1):
        with pace.making(n_steps):
            most.append(pace.most)
    assert (most, pace.most) == ([1, 1, 5, 1], batches.MOST_BATCHES)

    def batch(n: int, width: int = 2) -> batches.Batch:
        return batches.Batch(np.zeros((n, width), np.float32), np.zeros(n, np.int64), np.ones(n, np.float32))

    given = [batch(3), batch(3), batch(2), batch(3), batch(3, 4), *[batch(3)] * 20]
    groups = list(batches.alike(iter(given), pace))
    assert [len(group) for group in groups] == [2, 1, 1, 1, 16, 4]
    assert [one for group in groups for one in group] == given
    monkeypatch.setattr(batches, "MOST_BYTES", 50)
    assert [len(group) for group in batches.alike([batch(3)] * 5, pace)] == [2, 2, 1]


def test_class_weights_are_scikit_learns_and_weigh_the_loss() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    rows = np.concatenate([np.flatnonzero(CLASSES[:40] == 0), np.flatnonzero(CLASSES[:40] == 1)[:2], [2]])
    skewed = Examples(rows, CLASSES[rows], np.ones(len(rows), np.float32))
    plain = heads.build("linear", {"pooling": "avg", "dropout": 0.0}, (6,), 3, 1)
    p = np.asarray(plain(FEATURES[rows]))
    losses = -np.log(p[np.arange(len(rows)), skewed.targets])
    weights = compute_class_weight("balanced", classes=np.arange(3), y=skewed.targets)[skewed.targets]
    still = values(class_weights="balanced", epochs=1, learning_rate=1e-9, batch_size=len(rows))
    history = train(still, plain, train=skewed)
    assert history["loss"][0] == pytest.approx((weights * losses).mean(), rel=1e-4)
    assert history["loss"][0] != pytest.approx(losses.mean(), rel=1e-2)


def test_label_smoothing_is_in_the_loss() -> None:
    plain = train(values(epochs=1, learning_rate=1e-9))
    smoothed = train(values(epochs=1, learning_rate=1e-9, label_smoothing=0.3))
    p = np.asarray(head()(FEATURES[HELD_OUT.rows], training=False))
    targets = np.eye(3)[HELD_OUT.targets] * 0.7 + 0.3 / 3
    assert smoothed["val_loss"][0] == pytest.approx(float(-(targets * np.log(p)).sum(1).mean()), rel=1e-4)
    assert smoothed["val_loss"][0] != plain["val_loss"][0]


def test_a_missing_monitor_is_refused_before_training() -> None:
    nothing = Examples(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    with pytest.raises(TrainingError, match="monitor: val_loss needs validation examples, and the split has none"):
        train(values(), validation=nothing)
    history = train(values(monitor="loss"), validation=nothing)
    assert history["val_loss"].isna().all()


def test_a_diverging_loss_is_an_error() -> None:
    def broken(rows: np.ndarray, epoch: int) -> np.ndarray:
        return FEATURES[rows] * np.float32(np.nan if epoch == 1 else 1)

    with pytest.raises(TrainingError, match=r"loss: became nan in epoch 2. Lower learning_rate \(it is 0.01\)"):
        train(values(), fetch_train=broken)


@pytest.mark.parametrize("first_bad", [1, 3])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_monitor_that_is_no_number_is_an_error(first_bad: int, bad: float) -> None:
    """Also in the first epoch, which has no best one before it to go back to."""
    calls = 0

    def broken(rows: np.ndarray, epoch: int) -> np.ndarray:
        nonlocal calls
        calls += 1
        return FEATURES[rows] * np.float32(bad if calls >= first_bad else 1)

    with pytest.raises(TrainingError, match=rf"val_loss: became (nan|inf) in epoch {first_bad}\. Lower learning_rate"):
        train(values(), fetch_validation=broken)


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_validation_without_weight_cannot_be_monitored(monitor: str) -> None:
    weightless = Examples(HELD_OUT.rows, HELD_OUT.targets, np.zeros(20, np.float32))
    with pytest.raises(TrainingError, match=rf"monitor: {monitor} needs .* weight above 0\. All 20 weigh 0\."):
        train(values(monitor=monitor), validation=weightless, fetch_train=lambda rows, epoch: pytest.fail("it trained"))
    history = train(values(monitor="loss"), validation=weightless)
    assert history["val_loss"].isna().all()
    assert history["val_accuracy"].notna().all()


def test_training_without_weight_is_refused() -> None:
    weightless = Examples(TRAIN.rows, TRAIN.targets, np.zeros(40, np.float32))
    with pytest.raises(TrainingError, match="the 40 training examples all have weight 0"):
        train(values(), train=weightless)


def test_a_batch_without_weight_teaches_nothing() -> None:
    """No 0 / 0: the loss of such a batch is 0, and so is its gradient."""
    weights = np.zeros(40, np.float32)
    weights[3] = 1
    model = head()
    before = model.get_weights()
    history = train(
        values(optimizer="sgd", momentum=0.0, epochs=1), model, train=Examples(TRAIN.rows, CLASSES[:40], weights)
    )
    alone = head()
    one = Examples(TRAIN.rows[3:4], CLASSES[3:4], np.ones(1, np.float32))
    expected = train(values(optimizer="sgd", momentum=0.0, epochs=1), alone, train=one)
    assert history["steps"].tolist() == [5]
    assert np.isfinite(history["loss"]).all()
    assert expected["steps"].tolist() == [1]
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(changed)


def test_losses_are_weighted_means_over_all_examples() -> None:
    """Whatever batches they came in."""
    rng = np.random.default_rng(0)
    weighted = Examples(HELD_OUT.rows, HELD_OUT.targets, rng.uniform(0, 3, 20).astype(np.float32))
    trained = Examples(TRAIN.rows, TRAIN.targets, rng.uniform(0, 3, 40).astype(np.float32))
    plain = heads.build("linear", {"pooling": "avg", "dropout": 0.0}, (6,), 3, 1)
    p = np.asarray(plain(FEATURES), np.float64)
    losses = -np.log(p[np.arange(60), CLASSES])
    history = train(values(epochs=1, learning_rate=1e-9, batch_size=7), plain, train=trained, validation=weighted)
    assert history["loss"][0] == pytest.approx(np.average(losses[:40], weights=trained.weights), rel=1e-5)
    assert history["val_loss"][0] == pytest.approx(np.average(losses[40:], weights=weighted.weights), rel=1e-5)
    assert history["val_accuracy"][0] == (p[40:].argmax(1) == HELD_OUT.targets).mean()


def test_the_best_epoch_has_its_moving_statistics_too() -> None:
    """BatchNorm that is trained: what remains is judged as the history says, which later statistics would not."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x = keras.layers.BatchNormalization(momentum=0.5)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))

    def drifting(rows: np.ndarray, epoch: int) -> np.ndarray:
        return FEATURES[rows] + np.float32(5 * epoch)

    history = train(values(epochs=3), model, fetch_train=drifting)
    assert history["best"].tolist() == [1, 0, 0]
    assert loss_of(model) == pytest.approx(history["val_loss"][0], rel=1e-5)


def rates(p: Optimization, total: int) -> list[float]:
    schedule = optimizers.learning_rates(p, total)
    return [float(schedule(step)) for step in range(total + 1)]


def test_cosine_with_warmup_is_keras_own() -> None:
    """keras CosineDecay counts its warm-up from step 0; ours gives the first step a rate above 0."""
    import keras

    p = values(schedule="cosine", decay_to=0.1)
    theirs = keras.optimizers.schedules.CosineDecay(0.01, 50, alpha=0.1)
    np.testing.assert_allclose(rates(p, 50), [float(theirs(step)) for step in range(51)], rtol=1e-5)
    warm = rates(values(schedule="cosine", warmup_steps=10), 50)
    assert warm[0] == pytest.approx(0.01 / 11, rel=1e-4)
    assert np.all(np.diff(warm[:11]) > 0)
    assert max(warm) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize(("schedule", "decay_to"), [("linear", 0.0), ("linear", 0.2), ("exponential", 0.01)])
def test_the_other_schedules_end_where_they_say(schedule: str, decay_to: float) -> None:
    got = rates(values(schedule=schedule, decay_to=decay_to), 20)
    assert got[0] == pytest.approx(0.01)
    assert got[-1] == pytest.approx(0.01 * decay_to, abs=1e-9)
    steps = np.diff(got) if schedule == "linear" else np.diff(np.log(got))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-2)


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamw", "nadam", "lion"])
def test_every_optimizer_and_its_decay(name: str) -> None:
    """Decay shrinks kernels, not biases: with no gradient, a step multiplies by 1 - rate x decay."""
    import keras

    optimizer = optimizers.build(values(optimizer=name, weight_decay=0.5, learning_rate=0.1), 10)
    layer = keras.layers.Dense(2, bias_initializer="ones", name=f"dense_{name}")
    layer.build((None, 3))
    before = layer.kernel.numpy()
    zeros = [keras.ops.zeros_like(variable) for variable in layer.trainable_variables]
    optimizer.apply_gradients(zip(zeros, layer.trainable_variables, strict=True))
    np.testing.assert_allclose(layer.kernel.numpy(), before * 0.95, rtol=1e-5)
    np.testing.assert_allclose(layer.bias.numpy(), 1.0)


def test_momentum_reaches_sgd() -> None:
    assert optimizers.build(values(optimizer="sgd", momentum=0.8), 10).momentum == 0.8


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lion"])
def test_a_gradient_longer_than_clip_norm_is_shortened(optimizer: str) -> None:
    """One step of plain SGD goes as far as the gradient is long; a clip that no gradient reaches changes nothing."""

    def step(clip_norm: float | None) -> list[np.ndarray]:
        model = head()
        before = [np.copy(weight) for weight in model.get_weights()]
        train(
            values(optimizer=optimizer, momentum=0.0, learning_rate=1.0, epochs=None, steps=1, clip_norm=clip_norm,
                   monitor="loss"),
            model,
        )  # fmt: skip
        return [after - weight for after, weight in zip(model.get_weights(), before, strict=True)]

    def length(steps: list[np.ndarray]) -> float:
        return float(np.sqrt(sum((part**2).sum() for part in steps)))

    free = step(None)
    for part, same in zip(free, step(1000.0), strict=True):
        np.testing.assert_allclose(part, same, rtol=1e-5)
    if optimizer == "sgd":
        assert length(free) > 0.1
        assert length(step(0.1)) == pytest.approx(0.1, rel=1e-4)
