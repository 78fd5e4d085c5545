"""The nearest examples of each, by the cosine of their features: all pairs are compared, a block of rows at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graft.errors import DataError
from graft.runtime.progress import track

ENTRIES = 2**24
"""Of the products that are held at a time: 64 MB."""


@dataclass(frozen=True)
class Neighbours:
    """rows: (n, k) int64, the nearest first, of rows that are no copies of the example. cosines: (n, k) float32."""

    rows: np.ndarray
    cosines: np.ndarray


def nearest(features: np.ndarray, copies: np.ndarray, k: int) -> Neighbours:
    """features: (n, d) of any float. copies: (n,) int64, the same for copies of one picture. k: as many as there are
    at most, beside an example and its copies.

    Time grows with the square of n. Equally near ones stand in the order of their rows.

    Raises DataError where all are copies of one.
    """
    n = len(features)
    unit = features.astype(np.float32)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    _, inverse, sizes = np.unique(copies, return_inverse=True, return_counts=True)
    alike = {int(number): np.flatnonzero(inverse == number) for number in np.flatnonzero(sizes > 1)}
    k = min(k, n - int(sizes.max()))
    if k < 1:
        raise DataError(f"data.path: must hold examples that are no copies of one another. Got {n}, all copies of one.")
    rows, cosines = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
    step = max(1, min(1024, ENTRIES // n))
    blocks = [np.arange(start, min(start + step, n)) for start in range(0, n, step)]
    for block in track(blocks, n, "comparing features", len, "examples"):
        products = unit[block] @ unit.T
        for row, i in enumerate(block):
            products[row, alike.get(int(inverse[i]), i)] = -np.inf
        chosen = np.argpartition(-products, k - 1, axis=1)[:, :k]
        chosen.sort(axis=1)
        found = np.take_along_axis(products, chosen, axis=1)
        by_cosine = np.argsort(-found, axis=1, kind="stable")
        rows[block] = np.take_along_axis(chosen, by_cosine, axis=1)
        cosines[block] = np.take_along_axis(found, by_cosine, axis=1)
    return Neighbours(rows, cosines)
