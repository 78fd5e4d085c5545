"""What a ridge takes each example for without having seen it, at every penalty; and the penalty that is best at that.

Leaving out by the hat matrix: Golub, Heath & Wahba 1979, https://doi.org/10.2307/1268518. Many penalties from one
decomposition: as big_vision's `evaluators/fewshot_lsr.py`. Scores become probabilities by one temperature: Guo et al.
2017, https://arxiv.org/abs/1706.04599, here chosen on the scores of left-out examples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from graft.convex import blocks
from graft.convex.system import Problem, System

PENALTIES = tuple(10.0 ** (k / 2) for k in range(-12, 5))
"""Times the number of examples, and the mean variance of a feature, which is 1: from a millionth to 100."""

TEMPERATURES = tuple(2.0 ** (k / 2) for k in range(-2, 15))
"""By which scores are multiplied before the softmax: 0.5 to 128. Each is twice the one before the last."""

UNJUDGED = 1.0, 4.0
"""Penalty and temperature where no class has two examples: one alone of its class cannot be answered without itself."""

AT_A_TIME = 512
"""Views of a block, so that what is made of them stays in the processor's cache."""

LITTLE_MORE = 1.0 + np.finfo(np.float64).eps
"""Than 1: it keeps solvable what an example alone decides, as the only one with a weight."""


@dataclass(frozen=True)
class Chosen:
    """penalty, temperature: of the lowest log loss. answers: (n,) int64, the class of each example by the solution
    without it. log_loss: weighted mean of the same, over classes with two examples at least; nan without any."""

    penalty: float
    temperature: float
    answers: np.ndarray
    log_loss: float


def choose(system: System, given: Problem) -> Chosen:
    """Of PENALTIES and TEMPERATURES."""
    several = np.bincount(given.targets, minlength=given.n_classes) > 1
    weights = np.where(several[given.targets], given.weights, 0.0)
    losses = np.zeros((len(PENALTIES), len(TEMPERATURES)))
    # Every penalty has its answers until the best one is known: a byte each, of 256 classes or fewer.
    answers = np.empty((len(PENALTIES), len(weights)), np.min_scalar_type(given.n_classes - 1))
    for rows, answered, lost in chain.from_iterable(given.runs(partial(_judged, system, weights), list)):
        answers[:, rows] = answered
        losses += lost
    best, column = (int(i) for i in np.unravel_index(losses.argmin(), losses.shape))
    total = weights.sum()
    if not total:
        best, column = PENALTIES.index(UNJUDGED[0]), TEMPERATURES.index(UNJUDGED[1])
    log_loss = float(losses[best, column] / total) if total else math.nan
    return Chosen(PENALTIES[best], TEMPERATURES[column], answers[best].astype(np.int64), log_loss)


def logits(system: System, given: Problem, penalty: float) -> np.ndarray:
    """(n, c) float64 of each example by the solution without it."""
    found = np.empty((len(given.targets), given.n_classes))

    def put(block: slice) -> None:
        for rows, _, scores in _scores(system, given, block, [penalty]):
            found[rows] = scores

    for _ in given.each(put, slice(0, len(found))):
        pass
    return found


def together(system: System, given: Problem, penalty: float, group: np.ndarray) -> np.ndarray:
    """(g, c) scores of some examples of one view and weight 1 by the solution without all of them."""
    features = np.concatenate([given.read(slice(row, row + 1))[:, 0] for row in group])
    wanted = np.concatenate([given.wanted(slice(row, row + 1)) for row in group])
    z = system.turned(features)
    shrunk = z * system.shrinkage(penalty)
    rest = LITTLE_MORE * np.eye(len(group)) - (shrunk @ z.T + 1.0 / system.total)
    return np.asarray(wanted - np.linalg.solve(rest, wanted - (shrunk @ system.projected + system.offset)))


def _judged(system: System, weights: np.ndarray, given: Problem, block: slice) -> tuple[slice, np.ndarray, np.ndarray]:
    """The block, what each penalty answers, (p, b), and its summed log losses at each temperature, (p, t)."""
    answers = np.empty((len(PENALTIES), block.stop - block.start), np.min_scalar_type(given.n_classes - 1))
    losses = np.zeros((len(PENALTIES), len(TEMPERATURES)))
    for rows, number, scores in _scores(system, given, block, PENALTIES):
        answers[number, rows.start - block.start : rows.stop - block.start] = scores.argmax(axis=1)
        losses[number] += _log_losses(scores, given.targets[rows], weights[rows])
    return block, answers, losses


def _scores(
    system: System, given: Problem, block: slice, penalties: Sequence[float]
) -> Iterator[tuple[slice, int, np.ndarray]]:
    """(rows, number of the penalty, scores (rows, c) of the examples as they are, by the solution without them).

    H is an example's own block of the hat matrix, a row for each view, with the mean's part in it: the solution
    without the example misses its targets by (1 - H)^-1 times what the solution with it does.
    """
    features, views = given.read(block), given.views
    shrinkages = np.stack([system.shrinkage(penalty) for penalty in penalties], axis=1)
    one = np.eye(views)
    for rows in blocks.chunks(block, max(AT_A_TIME // views, 1)):
        z = system.turned(features[rows.start - block.start : rows.stop - block.start])
        wanted = given.wanted(rows)[:, None]
        share = (given.weights[rows] / views)[:, None, None]
        hats = _hats(z, shrinkages)
        for number, shrinkage in enumerate(shrinkages.T):
            missed = wanted - (z @ (shrinkage[:, None] * system.projected) + system.offset)
            rest = LITTLE_MORE * one - share * (hats[number] + 1.0 / system.total)
            # The first row of its inverse, which is the first column: it is symmetric.
            inverse = np.linalg.solve(rest, one[:, :1])
            yield rows, number, (wanted - (inverse * missed).sum(axis=1, keepdims=True))[:, 0]


def _hats(z: np.ndarray, shrinkages: np.ndarray) -> np.ndarray:
    """z diag(shrinkage) z' of each penalty and example, (p, b, v, v). z: (b, v, d). shrinkages: (d, p)."""
    n, views, _ = z.shape
    hats = np.empty((shrinkages.shape[1], n, views, views))
    for i in range(views):
        for j in range(i + 1):
            hats[:, :, i, j] = hats[:, :, j, i] = ((z[:, i] * z[:, j]) @ shrinkages).T
    return hats


def _log_losses(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(t,): sums of the weighted cross-entropies of the softmax at TEMPERATURES, as closely as choosing needs.

    Twice the temperature squares the exponentials, which costs a fifth of computing them.
    """
    shifted = scores - scores.max(axis=1, keepdims=True)
    own = shifted[np.arange(len(targets)), targets]
    losses = np.empty(len(TEMPERATURES))
    for first in range(2):
        for number in range(first, len(TEMPERATURES), 2):
            if number == first:
                powers = np.exp(TEMPERATURES[number] * shifted)
            else:
                np.square(powers, out=powers)
            losses[number] = weights @ (np.log(powers.sum(axis=1)) - TEMPERATURES[number] * own)
    return losses
