"""One number that makes a model's probabilities as sure as they are right: its logits are divided by it.

Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2. Which class is the most probable does not change.
"""

from __future__ import annotations

import math

import numpy as np

LOWEST, HIGHEST = 0.25, 4.0
"""Beyond them the examples say little: some that are all right want it at 0, a model sure of everything."""

DIGITS = 3
"""To which it is rounded: late digits of a logarithm are not the same on every processor."""

SMALLEST = 1e-30
"""A probability below it counts as it, since 0 has no logarithm."""


def fitted(probabilities: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """The temperature, from LOWEST to HIGHEST, at which the weighted log loss of the examples is least.

    probabilities: (n, n_classes) float. targets: (n,) int64. weights: (n,) float32, not all of them 0.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        logs = _log_softmax(probabilities, math.exp(log_temperature))
        return -math.fsum(weights * logs[np.arange(len(targets)), targets])

    bounds = (math.log(LOWEST), math.log(HIGHEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    return round(math.exp(found.x), DIGITS)


def divided(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(n, n_classes) float32: the probabilities whose logits are divided by `temperature`."""
    return np.asarray(np.exp(_log_softmax(probabilities, temperature)), np.float32)


def _log_softmax(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(n, n_classes) float64. A probability's logarithm is its logit, but for a number that is the example's own."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST)) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
