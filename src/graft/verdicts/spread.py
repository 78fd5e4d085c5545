"""How far results of one recipe lie apart, and how far two of them may before it means something."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Spread:
    """What a metric was in several runs, at least two of them."""

    values: Sequence[float]

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)

    @property
    def deviation(self) -> float:
        """The standard deviation, of a sample: over n - 1."""
        return float(np.std(self.values, ddof=1))

    @property
    def lowest(self) -> float:
        return min(self.values)

    @property
    def highest(self) -> float:
        return max(self.values)

    def noise(self, confidence: float) -> float:
        """Two further runs that differ in nothing but the seed lie no further apart than this, at `confidence`.

        t * sqrt(2) * deviation, Student's t with n - 1 degrees of freedom, since the deviation is itself an estimate:
        the repeatability limit of ISO 5725-6:1994, 4.1, whose 2.8 is 1.96 * sqrt(2) for a deviation that is known.
        """
        t = stats.t.ppf((1 + confidence) / 2, len(self.values) - 1)
        return float(t * math.sqrt(2) * self.deviation)
