"""Two models judged on the same images: only the images on which they disagree tell them apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from graft.verdicts.words import Compared

RESAMPLES = 10_000
SEED = 0
"""Of the resamples: the same predictions give the same interval."""


@dataclass(frozen=True)
class Paired:
    """How many of the same images two models, A and B, classify rightly."""

    both_right: int
    only_a_right: int
    only_b_right: int
    both_wrong: int

    @property
    def images(self) -> int:
        return self.both_right + self.only_a_right + self.only_b_right + self.both_wrong

    @property
    def a_right(self) -> int:
        return self.both_right + self.only_a_right

    @property
    def b_right(self) -> int:
        return self.both_right + self.only_b_right

    @property
    def difference(self) -> float:
        """B's accuracy less A's, in [-1, 1]."""
        return (self.only_b_right - self.only_a_right) / self.images


def count(a_right: np.ndarray, b_right: np.ndarray) -> Paired:
    """a_right, b_right: (n,) bool, whether each model classifies each image rightly; n at least 1."""
    return Paired(
        int(np.sum(a_right & b_right)),
        int(np.sum(a_right & ~b_right)),
        int(np.sum(~a_right & b_right)),
        int(np.sum(~a_right & ~b_right)),
    )


def mcnemar(pairs: Paired) -> float:
    """The two-sided p of McNemar's test, exact: a fair coin's, thrown once for each image that changed sides.

    McNemar 1947, https://doi.org/10.1007/BF02295996; for classifiers Dietterich 1998,
    https://doi.org/10.1162/089976698300017197. 1 where no image changed sides.
    """
    changed = pairs.only_a_right + pairs.only_b_right
    return float(stats.binomtest(pairs.only_b_right, changed).pvalue) if changed else 1.0


def difference_interval(pairs: Paired, confidence: float) -> tuple[float, float]:
    """(low, high) of B's accuracy less A's: the percentile bootstrap over RESAMPLES resamples of the images.

    Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 13. An image comes with what both models say of
    it, so that a resample is three counts: a draw from the multinomial distribution of gained, lost and unchanged.
    """
    n = pairs.images
    shares = np.array([pairs.only_b_right, pairs.only_a_right, pairs.both_right + pairs.both_wrong]) / n
    drawn = np.random.default_rng(SEED).multinomial(n, shares, size=RESAMPLES)
    differences = (drawn[:, 0] - drawn[:, 1]) / n
    outside = (1 - confidence) / 2
    return (
        float(np.quantile(differences, outside, method="lower")),
        float(np.quantile(differences, 1 - outside, method="higher")),
    )


def verdict(pairs: Paired, confidence: float) -> Compared:
    """B against A, by McNemar's exact test at the level 1 - confidence."""
    if mcnemar(pairs) >= 1 - confidence:
        return Compared.WITHIN_NOISE
    return Compared.BETTER if pairs.only_b_right > pairs.only_a_right else Compared.WORSE
