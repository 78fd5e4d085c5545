"""Logistic regression, whose penalty is the one of the lowest log loss on parts of the examples that it has not seen.

Five folds: leaving out one by one costs a solution for each example, and its approximations (Rad & Maleki 2020,
https://arxiv.org/abs/1801.10243) the inverse of a matrix with a row for each weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np

from graft.convex import blocks, standardise
from graft.convex.standardise import Standard
from graft.errors import TrainingError

PENALTIES = tuple(10.0 ** (-k / 2) for k in range(9))
"""Of half a squared weight against the mean loss, strongest first: 1 to 0.0001."""

FOLDS = 5

TOLERANCE, OF_FOLDS = 1e-5, 1e-4
"""Of the largest entry of the mean loss's gradient; and where a solution does nothing but choose among PENALTIES."""

MOST_STEPS = 1000


@dataclass(frozen=True)
class Solved:
    """A solution for raw features: softmax(features @ kernel + bias).

    kernel: (d, c) float64. bias: (c,) float64. penalty: of PENALTIES. log_loss: weighted mean over held-out examples.
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalty: float
    log_loss: float


def solve(features: np.ndarray, targets: np.ndarray, weights: np.ndarray, n_classes: int) -> Solved:
    """features: (n, d) of any float. targets: (n,) int64. weights: (n,), at least 0, with a sum above 0.

    Raises TrainingError where fewer than two classes have examples, or no class has two of them.
    """
    weights = weights.astype(np.float64)
    with blocks.one_thread():
        standard = _standard(features, weights)
        x = standard.of(features)
        losses, judged = _held_out(x, targets, weights)
        if not judged:
            raise TrainingError(
                "train.head: logistic chooses its penalty on training examples that are held out, and needs two of a "
                "class for that. The split has one of each; set train.head: ridge."
            )
        best = int(losses.argmin())
        (model,) = _solutions(x, targets, weights, [PENALTIES[best]], TOLERANCE)
        kernel, bias = standard.folded(*_of_all_classes(model, n_classes))
    return Solved(kernel, bias, PENALTIES[best], float(losses[best] / judged))


PATIENCE = 1
"""Penalties that are worse than the best one, after which no weaker one is tried."""


def _held_out(x: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """For each penalty, as far as they were tried, the log loss summed over held-out examples; and their weight.

    The folds of a penalty are solved side by side, each from its own solution for the penalty before.
    """
    folds = _folds(targets)
    parts, judged = [], 0.0
    for fold in range(FOLDS):
        inside = folds != fold
        # A class of which all examples are held out cannot be answered, whatever the penalty.
        held = ~inside & np.isin(targets, targets[inside])
        judged += weights[held].sum()
        parts.append((held, _solutions(x[inside], targets[inside], weights[inside], PENALTIES, OF_FOLDS)))

    def loss(held: np.ndarray, solutions: Iterator[Any]) -> float:
        return _log_loss(next(solutions), x[held], targets[held], weights[held])

    losses: list[float] = []
    while len(losses) < len(PENALTIES) and len(losses) - np.argmin([*losses, np.inf]) <= PATIENCE:
        of_folds = joblib.Parallel(joblib.cpu_count(), backend="threading")(
            joblib.delayed(loss)(held, solutions) for held, solutions in parts
        )
        losses.append(sum(of_folds))
    return np.array(losses), judged


def _standard(features: np.ndarray, weights: np.ndarray) -> Standard:
    share = weights / weights.sum()
    mean = share @ features.astype(np.float64)
    return Standard(mean, standardise.deviation(share @ (features - mean) ** 2, mean))


def _folds(targets: np.ndarray) -> np.ndarray:
    """(n,) -> (n,) int64: the examples of each class in turn, the next class where the last one stopped."""
    folds = np.empty(len(targets), np.int64)
    folds[np.argsort(targets, kind="stable")] = np.arange(len(targets)) % FOLDS
    return folds


def _solutions(
    x: np.ndarray, targets: np.ndarray, weights: np.ndarray, penalties: Sequence[float], tolerance: float
) -> Iterator[Any]:
    """scikit-learn's model for each penalty, each from the one before: the same object, changed."""
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(targets)) < 2:
        raise TrainingError("train.head: logistic needs training examples of two classes at least. Got one.")
    model = LogisticRegression(tol=tolerance, max_iter=MOST_STEPS, warm_start=True)
    for penalty in penalties:
        yield model.set_params(C=1.0 / (penalty * weights.sum())).fit(x, targets, sample_weight=weights)


def _log_loss(model: Any, x: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """Weighted sum over examples of classes that the model knows."""
    if not len(targets):
        return 0.0
    known = model.predict_log_proba(x)[np.arange(len(targets)), np.searchsorted(model.classes_, targets)]
    return float(-weights @ known)


NEVER = -30.0
"""Bias of a class without training examples: a probability of about 1e-13."""


def _of_all_classes(model: Any, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(d, c) and (c,), also of classes without training examples; of two classes scikit-learn has one row alone."""
    rows, biases = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        rows, biases = np.concatenate([-rows, rows]) / 2, np.concatenate([-biases, biases]) / 2
    kernel, bias = np.zeros((rows.shape[1], n_classes)), np.full(n_classes, NEVER)
    kernel[:, model.classes_], bias[model.classes_] = rows.T, biases
    return kernel, bias
