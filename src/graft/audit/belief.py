"""How likely each label is, by two witnesses that have not seen it: a head, and the nearest images.

The head is a ridge on all other images, in closed form (`graft.convex.ridge.left_out`); the nearest are K by the cosine
of the features, with a vote each. What is believed is their geometric mean. docs/audit.md has what else was tried.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graft.audit import neighbours
from graft.audit.neighbours import Neighbours
from graft.convex import ridge
from graft.runtime.progress import say

MOST_VOTES, LEAST_VOTES = 100, 10
"""Images that vote; between them half as many as a class has on average, so that a small class can win its own."""

PRIOR = 1.0
"""Votes that every class has from the start, so that none is impossible."""


@dataclass(frozen=True)
class Belief:
    """probabilities: (n, c) float64, rows sum to 1. near: at least LEAST_VOTES neighbours, where there are so many.

    judged: (n,) bool, whether another image has the same label, without which it cannot be answered. penalty: of the
    ridge.
    """

    probabilities: np.ndarray
    near: Neighbours
    judged: np.ndarray
    penalty: float

    def own(self, targets: np.ndarray) -> np.ndarray:
        """(n,) float64: how likely each label is that an image has."""
        return np.asarray(self.probabilities[np.arange(len(targets)), targets])


def form(
    features: np.ndarray, targets: np.ndarray, n_classes: int, copies: np.ndarray, scale: np.ndarray | None = None
) -> Belief:
    """features: (n, d) of any float. targets: (n,) int64. copies: (n,) int64, the same number for copies of one
    picture, which do not testify for one another. scale: as for `ridge.solve`.
    """
    say(f"solving a head on {len(targets)} examples, each left out in turn")
    groups = [np.flatnonzero(copies == number) for number in _several(copies)]
    alone = ridge.left_out(lambda rows: features[rows][:, None], targets, n_classes, scale, groups)
    k = int(np.clip(len(targets) // (2 * n_classes), LEAST_VOTES, MOST_VOTES))
    near = neighbours.nearest(features, copies, k)
    votes = _votes(near.rows, targets, n_classes)
    both = 0.5 * (_log_softmax(alone.logits) + np.log(votes))
    others = np.array([len(np.unique(copies[targets == target])) for target in range(n_classes)]) > 1
    return Belief(np.exp(_log_softmax(both)), near, others[targets], alone.penalty)


def _several(copies: np.ndarray) -> np.ndarray:
    numbers, counts = np.unique(copies, return_counts=True)
    return np.asarray(numbers[counts > 1])


def _votes(rows: np.ndarray, targets: np.ndarray, n_classes: int) -> np.ndarray:
    """(n, c) float64: shares of the votes of `rows`, (n, k), and the prior ones."""
    n, k = rows.shape
    cells = np.arange(n)[:, None] * n_classes + targets[rows]
    counts = np.bincount(cells.ravel(), minlength=n * n_classes).reshape(n, n_classes)
    return np.asarray((counts + PRIOR) / (k + n_classes * PRIOR))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
