"""Metrics of a classifier. To add one, add a row to METRICS: its name in `data/evaluation.json` and a function.

Every function takes a `Judged` and returns a number, a mapping of numbers (nested in the JSON), or
None where the metric says nothing (top-5 of five classes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics as sk

from graft.evaluation.temperature import divided

AT_A_TIME = 2**14
"""Rows of probabilities that are sorted."""


@dataclass(frozen=True)
class Judged:
    """Predictions and truth, and how to judge them.

    probabilities: (n, n_classes) float, rows add up to 1. targets: (n,) int64. classes: their names.
    temperature: by which their logits have been divided; None where they have not.
    """

    probabilities: np.ndarray
    targets: np.ndarray
    classes: Sequence[str]
    top_k: int
    calibration_bins: int
    confidence: float
    temperature: float | None = None

    @property
    def predicted(self) -> np.ndarray:
        """(n,) int64 class of the largest probability."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def labels(self) -> np.ndarray:
        return np.arange(len(self.classes))


def n_images(j: Judged) -> int:
    return len(j.targets)


def accuracy(j: Judged) -> float:
    return float(np.mean(j.predicted == j.targets))


def accuracy_interval(j: Judged) -> dict[str, float]:
    """Wilson's score interval (1927) at `confidence`, by scipy.stats."""
    correct = int(np.sum(j.predicted == j.targets))
    interval = stats.binomtest(correct, len(j.targets)).proportion_ci(j.confidence, method="wilson")
    return {"low": float(interval.low), "high": float(interval.high), "confidence": j.confidence}


def top_k_accuracy(j: Judged) -> float | None:
    """Share of images whose class is among the `top_k` most probable; None unless there are more classes."""
    if len(j.classes) <= j.top_k:
        return None
    hits = 0
    for start in range(0, len(j.targets), AT_A_TIME):  # scikit-learn sorts them, in twice their memory
        some = slice(start, start + AT_A_TIME)
        scores = j.targets[some], j.probabilities[some]
        hits += int(sk.top_k_accuracy_score(*scores, k=j.top_k, labels=j.labels, normalize=False))
    return hits / len(j.targets)


def macro_f1(j: Judged) -> float:
    """Mean of the F1 of the classes that have images here or were predicted (scikit-learn's default)."""
    return float(sk.f1_score(j.targets, j.predicted, average="macro", zero_division=0))


def log_loss(j: Judged) -> float:
    """Mean negative natural logarithm of the true class's probability, clipped at 1e-7."""
    true = j.probabilities[np.arange(len(j.targets)), j.targets]
    return float(-np.mean(np.log(np.clip(true.astype(np.float64), 1e-7, 1))))


def expected_calibration_error(j: Judged) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, weighted by their images.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599, eq. 3.
    """
    _, counts, confidences, accuracies = reliability(j)
    return float(np.sum(counts * np.abs(confidences - accuracies)) / max(counts.sum(), 1))


def reliability(j: Judged) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bins (low, high] of confidence: (edges (b+1,), images (b,), mean confidence (b,), accuracy (b,))."""
    confidence = j.probabilities.max(axis=1).astype(np.float64)
    correct = (j.predicted == j.targets).astype(np.float64)
    edges = np.linspace(0, 1, j.calibration_bins + 1)
    place = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, j.calibration_bins - 1)
    counts = np.bincount(place, minlength=j.calibration_bins)
    size = np.maximum(counts, 1)
    mean_confidence = np.bincount(place, confidence, j.calibration_bins) / size
    mean_correct = np.bincount(place, correct, j.calibration_bins) / size
    return edges, counts, mean_confidence, mean_correct


def temperature(j: Judged) -> dict[str, float] | None:
    """What the logits were divided by, and how calibrated the model was before; None without a temperature."""
    if j.temperature is None:
        return None
    before = replace(j, probabilities=divided(j.probabilities, 1 / j.temperature))
    return {
        "value": j.temperature,
        "log_loss_before": log_loss(before),
        "expected_calibration_error_before": expected_calibration_error(before),
    }


def per_class(j: Judged) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and number of images of each class; undefined ratios are 0."""
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        j.targets, j.predicted, labels=j.labels, zero_division=0
    )
    return {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "images": int(n)}
        for name, p, r, f, n in zip(j.classes, precision, recall, f1, support, strict=True)
    }


METRICS: dict[str, Callable[[Judged], Any]] = {
    "images": n_images,
    "accuracy": accuracy,
    "accuracy_interval": accuracy_interval,
    "top_k_accuracy": top_k_accuracy,
    "macro_f1": macro_f1,
    "log_loss": log_loss,
    "expected_calibration_error": expected_calibration_error,
    "temperature": temperature,
    "per_class": per_class,
}


def compute(j: Judged) -> dict[str, Any]:
    """Every metric of the table that applies, by name."""
    values = {name: metric(j) for name, metric in METRICS.items()}
    return {name: value for name, value in values.items() if value is not None}


def compute_all(judged: Mapping[str, Mapping[Any, Judged]]) -> dict[str, dict[str, dict[str, Any]]]:
    """model -> split -> metric, as in `data/evaluation.json`."""
    return {model: {str(split): compute(one) for split, one in splits.items()} for model, splits in judged.items()}
