"""What an accuracy is worth after many models were judged on the same images."""

from __future__ import annotations

from scipy import stats


def corrected_interval(right: int, images: int, confidence: float, looks: int) -> tuple[float, float, float]:
    """(low, high, confidence of each): Wilson's score interval, wide enough to hold for all `looks` models at once.

    By Bonferroni: each of k intervals at confidence 1 - (1 - c)/k, and all hold together with at least c, however the
    models depend on one another. One of them, the best one too, may be picked afterwards.
    """
    each = 1 - (1 - confidence) / looks
    interval = stats.binomtest(right, images).proportion_ci(each, method="wilson")
    return float(interval.low), float(interval.high), each
