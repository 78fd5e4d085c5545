"""Two accuracies of which one is known as a number alone, not image by image."""

from __future__ import annotations

from graft.verdicts.words import Compared


def fisher(right: int, other_right: int, images: int) -> float:
    """The probability that two equally good models differ by as much or more, each on `images` images: two-sided.

    Fisher's exact test (Fisher 1922, https://doi.org/10.2307/2340521), by scipy.stats. It takes the answers as
    independent: where both were judged on the same images it is cautious.
    """
    from scipy import stats

    table = [[right, images - right], [other_right, images - other_right]]
    return float(stats.fisher_exact(table).pvalue)


def verdict(right: int, other: float, images: int, confidence: float) -> Compared:
    """How a model with `right` of `images` stands to another's accuracy `other`, 0 to 1, on as many."""
    other_right = round(other * images)
    if fisher(right, other_right, images) >= 1 - confidence:
        return Compared.WITHIN_NOISE
    return Compared.BETTER if right > other_right else Compared.WORSE
