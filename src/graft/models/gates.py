"""Two ways to compute the same must agree before a model is written: they catch skew of preprocessing and BatchNorm."""

from __future__ import annotations

import numpy as np

from graft.errors import GateError

PROBABILITY = {"float32": 1e-3, "float16": 2e-2}
"""Largest difference of a probability between what was cached and the model on pixels, by the dtype that was cached."""

READ_BACK = 1e-5
"""The same between a model in memory and its file."""

FEATURES = {"float32": 1e-3, "float16": 5e-3, "bfloat16": 0.2}
"""Largest relative distance between a cached vector and the model's own, by its dtype or what it was computed in.

A head may turn any vector into nearly the same probabilities, so that those alone would not do. Rounding makes 1e-5 in
float32 and 5e-4 in float16; bfloat16 0.03 to 0.09, against 0.5 and more for channels in the wrong order or pixels in
another range (tests/test_gates.py).
"""


def same_probabilities(
    first_name: str, first: np.ndarray, second_name: str, second: np.ndarray, tolerance: float
) -> None:
    """Raise GateError unless two arrays of probabilities (n, n_classes) agree within `tolerance`."""
    difference = float(np.abs(first - second).max(initial=0))
    if not difference <= tolerance:
        _fail(first_name, second_name, f"predict the same within {tolerance:g}", f"{difference:.3g}", len(first))


def same_features(first_name: str, first: np.ndarray, second_name: str, second: np.ndarray, tolerance: float) -> None:
    """Raise GateError unless each example's values agree: the norm of the difference by the norm of the second."""
    n = len(first)
    difference = np.linalg.norm((first - second).reshape(n, -1), axis=1)
    relative = float((difference / np.maximum(np.linalg.norm(second.reshape(n, -1), axis=1), 1e-12)).max(initial=0))
    if not relative <= tolerance:
        _fail(first_name, second_name, f"agree within {tolerance:g} of their length", f"{relative:.3g}", n)


def _fail(first_name: str, second_name: str, should: str, difference: str, n: int) -> None:
    raise GateError(
        f"{first_name} and {second_name} must {should}. They differ by {difference} on {n} examples: preprocessing, "
        "BatchNorm or loading went wrong; nothing was logged. Run `dvc repro --force extract`; if that does not help, "
        "please report it with your params.yaml."
    )
