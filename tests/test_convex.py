"""Heads that are solved: as brute force and scikit-learn find them, the same bytes twice, and Keras heads."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import params_of
from graft.convex import blocks, leaving_out, logistic, ridge, statistics, system
from graft.errors import TrainingError
from graft.examples.dataset import Dataset
from graft.examples.split import Split
from graft.features import store
from graft.models import heads, saving, solved
from graft.training import shards

CLASSES = 3


def blobs(n: int = 60, width: int = 8, views: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, views, width) float32 of three overlapping clouds, targets (n,), weights (n,)."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % CLASSES
    centres = rng.normal(size=(CLASSES, width))
    features = centres[targets, None] + rng.normal(size=(n, 1, width)) + 0.3 * rng.normal(size=(n, views, width))
    return (5 + 3 * features).astype(np.float32), targets, rng.uniform(0.5, 2, n)


def refitted(x: np.ndarray, targets: np.ndarray, weights: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Ridge with an intercept, straight from the normal equations. x: (n, d) standardised. strength: of the penalty."""
    signs = np.where(targets[:, None] == np.arange(CLASSES), 1.0, -1.0)
    with_one = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    penalty = strength * np.diag([*np.ones(x.shape[1]), 0.0])
    found = np.linalg.solve(
        with_one.T @ (weights[:, None] * with_one) + penalty, with_one.T @ (weights[:, None] * signs)
    )
    return found[:-1], found[-1]


def standardised(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """As numpy's weighted mean and variance have it; of the views, which share a weight."""
    flat, w = features.reshape(-1, features.shape[-1]).astype(float), np.repeat(weights, features.shape[1])
    mean = np.average(flat, axis=0, weights=w)
    return (features - mean) / np.sqrt(np.average((flat - mean) ** 2, axis=0, weights=w))


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("penalty", [1e-4, 0.1])
def test_leaving_out_is_what_fitting_without_gives(monkeypatch: pytest.MonkeyPatch, views: int, penalty: float) -> None:
    """An example is left out with all its views, and judged as it is."""
    features, targets, weights = blobs(views=views)
    monkeypatch.setattr(leaving_out, "PENALTIES", (penalty,))
    monkeypatch.setattr(leaving_out, "TEMPERATURES", (4.0,))
    monkeypatch.setattr(blocks, "ROWS", 25)
    found = ridge.solve(lambda rows: features[rows], targets, weights, CLASSES)
    x = standardised(features, weights)
    scores = []
    for i in range(len(targets)):
        others = np.arange(len(targets)) != i
        flat, w = x[others].reshape(-1, x.shape[-1]), np.repeat(weights[others] / views, views).astype(float)
        kernel, bias = refitted(flat, np.repeat(targets[others], views), w, penalty * weights.sum(dtype=float))
        scores.append(x[i, 0] @ kernel + bias)
    logits = 4.0 * np.array(scores)
    np.testing.assert_array_equal(found.left_out, logits.argmax(axis=1))
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(targets)), targets]
    assert found.log_loss == pytest.approx(np.average(losses, weights=weights), rel=1e-9)


def test_copies_are_left_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two and three examples of a group are judged by a solution without any of them, the others as ever."""
    features, targets, _ = blobs()
    penalty, n, ones = 0.01, len(targets), np.ones(len(targets))
    monkeypatch.setattr(leaving_out, "PENALTIES", (penalty,))
    monkeypatch.setattr(leaving_out, "TEMPERATURES", (2.0,))
    groups = [np.array([3, 40]), np.array([7, 8, 50])]
    found = ridge.left_out(lambda rows: features[rows], targets, CLASSES, None, groups)
    x = standardised(features, ones)[:, 0]
    together = {int(row): group for group in groups for row in group}
    for i in range(n):
        others = ~np.isin(np.arange(n), together.get(i, np.array([i])))
        kernel, bias = refitted(x[others], targets[others], ones[others], penalty * n)
        np.testing.assert_allclose(found.logits[i], 2.0 * (x[i] @ kernel + bias), rtol=1e-7, atol=1e-9)
    assert (found.penalty, found.temperature) == (penalty, 2.0)


def test_sums_over_blocks_are_those_of_all_examples_where_means_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deviations of 1 about means of a million, which differ by block: as exact arithmetic has it, to float64's end."""
    monkeypatch.setattr(blocks, "ROWS", 16)
    monkeypatch.setattr(blocks, "RUN", 2)
    rng = np.random.default_rng(0)
    n, views, width = 50, 2, 4
    features = 1e6 * rng.normal(size=width) + rng.normal(size=(n, views, width))
    features[32:] += 7
    weights = np.where(np.arange(n) < 24, 0, rng.uniform(0.5, 2, n))  # the first run and a block weigh nothing
    given = system.problem(lambda rows: features[rows], np.arange(n) % CLASSES, weights, CLASSES)
    sums = statistics.merged(given.runs(system._summed, statistics.merged))
    x, y, w = (
        np.vectorize(Fraction)(part)
        for part in (
            features.reshape(-1, width),
            np.repeat(given.wanted(slice(0, n)), views, axis=0),
            np.repeat(weights / views, views),
        )
    )
    x, y = x - w @ x / w.sum(), y - w @ y / w.sum()
    for found, exact in ((sums.gram, (w[:, None] * x).T @ x), (sums.moment, (w[:, None] * x).T @ y)):
        exact = exact.astype(float)
        assert np.abs(found - exact).max() < 1e-14 * np.abs(exact).max() * np.sqrt(n * views)


@pytest.mark.parametrize("views", [1, 3])
def test_bytes_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch, views: int) -> None:
    """Two threads read two blocks at a time, or one waits for the other in vain."""
    features, targets, weights = blobs(n=300, views=views)
    monkeypatch.setattr(blocks, "ROWS", 32)
    both = threading.Barrier(2, timeout=60)

    def together(rows: slice) -> np.ndarray:
        if rows.stop - rows.start > 1:  # of one example, the shape alone is asked for
            both.wait()
        return features[rows]

    found = []
    for threads, read in (("1", lambda rows: features[rows]), ("2", together)):
        monkeypatch.setenv("GRAFT_THREADS", threads)
        solution = ridge.solve(read, targets, weights, CLASSES)
        found.append([solution.kernel.tobytes(), solution.bias.tobytes(), solution.left_out.tobytes()])
    assert found[0] == found[1]


def test_log_losses_are_those_of_the_softmax_at_each_temperature() -> None:
    rng = np.random.default_rng(0)
    scores, targets, weights = rng.normal(size=(40, CLASSES)), rng.integers(0, CLASSES, 40), rng.uniform(0, 2, 40)
    for temperature, found in zip(
        leaving_out.TEMPERATURES, leaving_out._log_losses(scores, targets, weights), strict=True
    ):
        logits = temperature * scores
        losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(40), targets]
        assert found == pytest.approx(weights @ losses, rel=1e-11)


def test_many_features_are_worked_on_by_fewer_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setenv("GRAFT_THREADS", "64")
    monkeypatch.setattr(blocks, "prefetched", lambda work, parts, threads, most: asked.append(threads))
    for width in (320, 4096, 10**6):
        blocks.each(len, slice(0, 10), 1, width)
    assert asked == [64, 4, 1]


def test_the_solution_is_scikit_learns() -> None:
    """Of RidgeCV, which chooses by squared errors of left-out examples, on the same penalties."""
    from sklearn.linear_model import Ridge, RidgeCV

    features, targets, _ = blobs(n=90)
    ones = np.ones(90)
    found = ridge.solve(lambda rows: features[rows], targets, ones, CLASSES)
    x = standardised(features, ones)[:, 0]
    signs = np.where(targets[:, None] == np.arange(CLASSES), 1.0, -1.0)
    theirs = Ridge(alpha=found.penalty * 90).fit(x, signs)
    ours = features[:, 0] @ found.kernel + found.bias
    np.testing.assert_allclose(ours, found.temperature * theirs.predict(x), rtol=1e-6, atol=1e-6)
    chooser = RidgeCV(alphas=[found.penalty * 90], store_cv_results=True, scoring="neg_mean_squared_error")
    assert (chooser.fit(x, signs).cv_results_[..., 0].argmax(axis=1) == found.left_out).all()


def test_logistic_is_scikit_learns_and_chosen_by_folds() -> None:
    from sklearn.linear_model import LogisticRegression

    features, targets, weights = blobs(n=90)
    found = logistic.solve(lambda rows: features[rows, 0], targets, weights, CLASSES)
    x = standardised(features, weights)[:, 0]
    theirs = LogisticRegression(C=1 / (found.penalty * weights.sum()), tol=1e-8, max_iter=9999)
    theirs.fit(x, targets, sample_weight=weights)
    ours = features[:, 0] @ found.kernel + found.bias
    np.testing.assert_allclose(softmax(ours), theirs.predict_proba(x), atol=1e-4)
    assert min(logistic.PENALTIES) < found.penalty < max(logistic.PENALTIES)


@pytest.mark.parametrize("n_classes", [2, CLASSES])
def test_logistic_in_blocks_is_logistic_of_all_held(monkeypatch: pytest.MonkeyPatch, n_classes: int) -> None:
    """No more than a block is read at a time where features are too many to be held, and threads change no byte."""
    features, targets, weights = blobs(n=300)
    targets %= n_classes
    held = logistic.solve(lambda rows: features[rows, 0], targets, weights, n_classes)
    monkeypatch.setattr(blocks, "ROWS", 32)
    monkeypatch.setattr(logistic, "HELD_BYTES", features.nbytes - 1)
    read: list[int] = []

    def block(rows: slice) -> np.ndarray:
        read.append(rows.stop - rows.start)
        return features[rows, 0]

    found = []
    for threads in ("1", "2"):
        monkeypatch.setenv("GRAFT_THREADS", threads)
        found.append(logistic.solve(block, targets, weights, n_classes))
        np.testing.assert_allclose(found[-1].kernel, held.kernel, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found[-1].bias, held.bias, rtol=1e-9, atol=1e-12)
        assert found[-1].penalty == held.penalty
    assert max(read) == 32
    assert len(read) > 20 * len(features) / 32, "gone through again for each step"
    assert found[0].kernel.tobytes() == found[1].kernel.tobytes()

    read.clear()
    monkeypatch.setattr(logistic, "HELD_BYTES", features.nbytes)
    logistic.solve(block, targets, weights, n_classes)
    assert sum(read) <= len(features) + 2, "each was read once, and one for its shape"


def test_the_gradient_of_logistic_is_that_of_its_loss() -> None:
    """By differences, with means far from 0, of both kinds of solution and of some of the examples."""
    features, targets, weights = blobs(n=50, width=4)
    for n_classes in (2, CLASSES):
        of = targets % n_classes
        given = logistic._Examples(lambda rows: 100 + features[rows, 0], of, weights, 4)
        inside = np.arange(50) % 4 > 0
        part = logistic._Objective(given, logistic._standard(given), inside, given.one_by_one)
        at = np.random.default_rng(0).normal(size=5 * (1 if n_classes == 2 else 3))
        _, gradient = part._loss_and_gradient(at, 0.1)
        steps = 1e-6 * np.eye(len(at))
        losses = [[part._loss_and_gradient(at + sign * step, 0.1)[0] for sign in (1, -1)] for step in steps]
        np.testing.assert_allclose(gradient, [(up - down) / 2e-6 for up, down in losses], atol=1e-7)


def test_groups_weigh_alike_however_wide() -> None:
    """As ridge on features that are scaled by hand."""
    features, targets, weights = blobs(width=10)
    scale = ridge.by_group([2, 8])
    assert (scale**2).mean() == pytest.approx(1)
    assert (scale[:2] ** 2).sum() == pytest.approx((scale[2:] ** 2).sum())
    found = ridge.solve(lambda rows: features[rows], targets, weights, CLASSES, scale)
    x = standardised(features, weights)[:, 0] * scale
    kernel, bias = refitted(x, targets, weights, found.penalty * weights.sum())
    by_hand = found.temperature * (x @ kernel + bias)
    np.testing.assert_allclose(features[:, 0] @ found.kernel + found.bias, by_hand, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(ridge.by_group([3, 3]), np.ones(6))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_two_classes_and_a_class_without_examples() -> None:
    features, targets, weights = blobs()
    kept = targets < 2
    x, targets, weights = features[kept, 0], targets[kept], weights[kept]
    for n_classes in (2, 3):
        found = logistic.solve(lambda rows: x[rows], targets, weights, n_classes)
        probabilities = softmax(x @ found.kernel + found.bias)
        assert (probabilities[:, :2].argmax(axis=1) == targets).mean() > 0.8
        assert not probabilities[:, 2:].any() or probabilities[:, 2:].max() < 1e-9
        by_ridge = ridge.solve(lambda rows: x[rows, None], targets, weights, n_classes)
        assert ((x @ by_ridge.kernel + by_ridge.bias).argmax(axis=1) == targets).mean() > 0.8


def test_more_features_than_examples_and_features_that_never_change() -> None:
    features, targets, weights = blobs(n=12, width=30)
    features[..., 3] = 7.0
    for found in (
        ridge.solve(lambda rows: features[rows], targets, weights, CLASSES),
        logistic.solve(lambda rows: features[rows, 0], targets, weights, CLASSES),
    ):
        assert np.isfinite(found.kernel).all()
        assert np.abs(found.kernel[3]).max() < 1e-6


def test_one_example_of_each_class() -> None:
    features, targets, weights = blobs(n=3)
    found = ridge.solve(lambda rows: features[rows], targets, weights, CLASSES)
    assert ((features[:, 0] @ found.kernel + found.bias).argmax(axis=1) == targets).all()
    assert (found.penalty, found.temperature) == leaving_out.UNJUDGED
    with pytest.raises(TrainingError, match=r"needs two of a class for that.*set train.head: ridge"):
        logistic.solve(lambda rows: features[rows, 0], targets, weights, CLASSES)
    with pytest.raises(TrainingError, match="two classes at least"):
        logistic.solve(lambda rows: features[:1, 0][rows], targets[:1], weights[:1], CLASSES)


def dataset_of(targets: np.ndarray, weights: np.ndarray) -> Dataset:
    """Every third example validates."""
    rows = np.arange(len(targets))
    sides: Any = {"train": rows[rows % 3 > 0], "validation": rows[rows % 3 == 0], "test": rows[:0]}
    return Dataset(pd.DataFrame({"sha256": rows}), list("abc"), targets, Split(sides, weights))


@pytest.mark.parametrize("name", solved.SOLVERS)
@pytest.mark.parametrize("maps", [False, True])
def test_a_solved_head_is_a_keras_head(tmp_path: Path, name: str, maps: bool) -> None:
    """On pooled features or whole maps; the seed changes nothing, and the file is the same twice."""
    features, _, weights = blobs(views=2)
    targets = np.repeat(np.arange(CLASSES), 20)
    features = features[np.argsort(np.arange(60) % CLASSES, kind="stable")]
    if maps:  # two places, whose mean is the feature
        features = np.stack([features - 1, features + 1], axis=2)[:, :, None]
    meta = store.Meta({}, {"widths": [2, 6]}, features.shape, "float32", "")
    files, accuracies = [], []

    def told(epoch: int, metrics: dict[str, float]) -> None:
        accuracies.append((epoch, metrics["val_accuracy"]))

    for seed in (1, 2):
        head = heads.build(name, {"pooling": "avg"}, features.shape[2:], CLASSES, seed)
        p = params_of({"train.head": name, "train.class_weights": "balanced"}).train
        curve = solved.fit(head, p, dataset_of(targets, weights), store.Stored(features, meta), told)
        saving.save(head, tmp_path / "head.keras", features[:4, 0])
        files.append((tmp_path / "head.keras").read_bytes())
    assert files[0] == files[1]
    (row,) = curve.to_dict("records")
    assert accuracies == 2 * [(row["epoch"], row["val_accuracy"])]
    assert row["val_accuracy"] > 0.7
    held_out = np.arange(0, 60, 3)
    probabilities = shards.predict(head, features[held_out, 0])
    assert (probabilities.argmax(axis=1) == targets[held_out]).mean() == pytest.approx(row["val_accuracy"])


def test_nothing_to_learn_from() -> None:
    features, targets, weights = blobs()
    head = heads.build("ridge", {"pooling": "avg"}, (8,), CLASSES, 1)
    stored = store.Stored(features, store.Meta({}, {}, features.shape, "float32", ""))
    with pytest.raises(TrainingError, match="all have weight 0"):
        solved.fit(head, params_of({"train.head": "ridge"}).train, dataset_of(targets, 0 * weights), stored, print)
