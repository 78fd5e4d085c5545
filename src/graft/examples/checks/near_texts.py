"""Texts that are copies: the same bytes, or a share of their runs of characters in common that is large enough.

Of a pair, each text must have that share: one premise stands beside many hypotheses, and those are no copies.

MinHash's signatures say which pairs may be; of those the share itself decides, from the texts. So what is found is
right, and a pair right at the limit is missed once in MISSED times or less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from graft.examining.text.examine import PERMUTATIONS, shingles
from graft.examples.checks import joining
from graft.examples.checks.examined import Looks

if TYPE_CHECKING:
    from graft.examining.text.examine import Verdict

MISSED = 1000
SLACK = 4
"""Standard deviations by which a signature may say less than there is."""

KEPT = 4096
"""Texts whose runs are kept, since they are compared with several."""


def look(verdict: Verdict) -> bytes:
    """What a text is compared by."""
    return verdict.signature


def groups(sha256s: Iterable[str], looks: Looks, similarity: float, read: Callable[[int], bytes]) -> np.ndarray:
    """(n,) int64: texts with the same number are copies of one, directly or through others.

    looks: as `look` gives them. similarity: from which share on, above 0. read: number of a text -> its bytes.
    """

    def pairs(chosen: np.ndarray) -> np.ndarray:
        signed = looks.values[chosen].view(np.uint32)
        least = similarity - SLACK * (similarity * (1 - similarity) / PERMUTATIONS) ** 0.5
        of = lru_cache(KEPT)(lambda row: shingles(read(int(looks.rows[chosen[row]]))))

        @lru_cache(2**16)
        def close(left: int, right: int) -> bool:
            return all(jaccard(a, b) >= similarity for a, b in zip(of(left), of(right), strict=True))

        def alike(left: np.ndarray, right: np.ndarray) -> np.ndarray:
            likely = (signed[left] == signed[right]).mean(axis=1) >= least
            ordered = zip(np.minimum(left, right)[likely], np.maximum(left, right)[likely], strict=True)
            likely[likely] = [close(int(a), int(b)) for a, b in ordered]
            return np.asarray(likely)

        return joining.near(len(signed), _bands(signed, similarity), alike)

    return joining.groups(sha256s, looks.rows, pairs)


def jaccard(left: set[str], right: set[str]) -> float:
    """The share of what is in either set that is in both."""
    common = len(left & right)
    return common / (len(left) + len(right) - common)


def rows_of(similarity: float) -> int:
    """Numbers in a band: as many as may be, so that few other pairs are compared."""

    def missed(rows: int) -> float:
        return float((1 - similarity**rows) ** (PERMUTATIONS // rows))

    return max((rows for rows in range(1, PERMUTATIONS + 1) if missed(rows) * MISSED <= 1), default=1)


def _bands(signed: np.ndarray, similarity: float) -> Iterator[np.ndarray]:
    """Of each band, (n,) numbers that are the same where it is. signed: (n, PERMUTATIONS)."""
    rows = rows_of(similarity)
    n_bands = PERMUTATIONS // rows
    keys = np.ascontiguousarray(signed[:, : n_bands * rows]).view(f"V{4 * rows}")
    return (np.unique(keys[:, band], return_inverse=True)[1] for band in range(n_bands))
