"""Features with mean 0 and deviation 1, so that one penalty is fair to all; a head reads them raw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
