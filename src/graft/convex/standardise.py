"""Features with mean 0 and deviation 1, so that one penalty is fair to all; a head reads them raw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

Read = Callable[[slice], np.ndarray]
"""Some of n examples -> their features (b, v, d), any float: v views of each, which count together as one example."""


@dataclass(frozen=True)
class Standard:
    """mean, deviation: (d,) float64; what features are less, and then divided by: their own, but for a scale."""

    mean: np.ndarray
    deviation: np.ndarray

    def of(self, features: np.ndarray) -> np.ndarray:
        """(..., d) of any float -> (..., d) float64."""
        return np.asarray((features - self.mean) / self.deviation)

    def folded(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kernel (d, c) and bias (c,) for standardised features -> those that give the same for raw ones."""
        raw = kernel / self.deviation[:, None]
        return raw, bias - self.mean @ raw


def deviation(variance: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(d,) each -> (d,); 1 where the variance is what rounding makes of none.

    So it is of a feature that varies by less than float32 can tell beside the one that varies most: a network may have
    dead ones (MiniLM has three, of 1e-33 to 1e-9), and a kernel of 1e31 for them would be worth nothing to fine-tuning.
    """
    least = np.maximum(np.finfo(np.float64).eps * mean**2, np.finfo(np.float32).eps ** 2 * variance.max(initial=0))
    return np.where(variance > least, np.sqrt(variance), 1.0)


def chunks(n: int, size: int) -> Iterator[slice]:
    """`size` or fewer of n examples at a time, so that memory stays flat."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def flat(features: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(b, v, d) and (b,) -> (b * v, d) float64 and (b * v,): the views of an example share its weight."""
    views = features.shape[1]
    return features.reshape(-1, features.shape[-1]).astype(np.float64), np.repeat(weights / views, views)


@contextmanager
def one_thread() -> Iterator[None]:
    """Around matrix products and decompositions, whose sums would else depend on the number of cores."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
