"""Ridge regression on class indicators: one eigendecomposition gives every penalty, and what each gives for an example
that it has not seen.

Leaving out by the hat matrix: Golub, Heath & Wahba 1979, https://doi.org/10.2307/1268518. Many penalties from one
decomposition, targets -1 and 1: as big_vision's `evaluators/fewshot_lsr.py`. Scores become probabilities by one
temperature: Guo et al. 2017, https://arxiv.org/abs/1706.04599, here chosen on the scores of left-out examples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graft.convex import standardise
from graft.convex.standardise import Read, Standard

PENALTIES = tuple(10.0 ** (k / 2) for k in range(-12, 5))
"""Times the number of examples, and the mean variance of a feature, which is 1: from a millionth to 100."""

TEMPERATURES = tuple(2.0 ** (k / 2) for k in range(-2, 15))
"""By which scores are multiplied before the softmax: 0.5 to 128."""

UNJUDGED = 1.0, 4.0
"""Penalty and temperature where no class has two examples: one alone of its class cannot be answered without itself."""

ROWS = 4096
"""Views that are worked on at a time."""


@dataclass(frozen=True)
class Solved:
    """A solution for raw features: softmax(features @ kernel + bias).

    kernel: (d, c) float64. bias: (c,) float64. penalty: of PENALTIES. temperature: of TEMPERATURES, in both already.
    left_out: (n,) int64, the class of each example by the solution without it. log_loss: weighted mean of the same,
        over classes with two examples at least; nan without any.
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalty: float
    temperature: float
    left_out: np.ndarray
    log_loss: float


def solve(
    read: Read, targets: np.ndarray, weights: np.ndarray, n_classes: int, scale: np.ndarray | None = None
) -> Solved:
    """The penalty and temperature of the lowest log loss on examples left out one by one, and the solution for all.

    An example is left out with all its views, and judged by the first of them, which is the example as it is. The
    standardisation stays that of all examples.

    targets: (n,) int64. weights: (n,), at least 0, with a sum above 0. scale: (d,), the deviation that each feature is
    given; None for 1, and else with a mean square of 1, so that a penalty means the same.

    Values are the same on every processor where products of matrices are (`runtime.numerics`): logarithms and
    exponentials, which are not, only choose among PENALTIES and TEMPERATURES.
    """
    weights = weights.astype(np.float64)
    with standardise.one_thread():
        system = _decomposed(read, targets, weights, n_classes, scale)
        chosen = _chosen(system, read, targets, weights)
        solution = system.vectors @ (system.projected * system.shrinkage(chosen.penalty)[:, None])
        kernel, bias = system.standard.folded(solution, system.offset)
    return Solved(
        chosen.temperature * kernel,
        chosen.temperature * bias,
        chosen.penalty,
        chosen.temperature,
        chosen.left_out,
        chosen.log_loss,
    )


@dataclass(frozen=True)
class LeftOut:
    """logits: (n, c) float64 of each example, by the solution without it and its group; of the softmax.

    penalty: of PENALTIES. temperature: of TEMPERATURES, in the logits already.
    """

    logits: np.ndarray
    penalty: float
    temperature: float


def left_out(
    read: Read,
    targets: np.ndarray,
    n_classes: int,
    scale: np.ndarray | None = None,
    groups: Iterable[np.ndarray] = (),
) -> LeftOut:
    """What each example is taken for without having been seen, by the penalty and temperature that `solve` chooses.

    Arguments as for `solve`, every example with a weight of 1 and one view. groups: rows of examples that are left out
    together, such as copies of one picture, which would else vouch for one another; in no two groups the same.
    """
    weights = np.ones(len(targets))
    with standardise.one_thread():
        system = _decomposed(read, targets, weights, n_classes, scale)
        chosen = _chosen(system, read, targets, weights)
        logits = np.empty((len(targets), n_classes))
        for rows, _, scores in _left_out(system, read, targets, weights, (chosen.penalty,)):
            logits[rows] = scores
        for group in groups:
            logits[group] = _left_out_together(system, read, targets, chosen.penalty, group)
    return LeftOut(chosen.temperature * logits, chosen.penalty, chosen.temperature)


def _left_out_together(
    system: _System, read: Read, targets: np.ndarray, penalty: float, group: np.ndarray
) -> np.ndarray:
    """(g, c) scores of some examples of one view and weight 1 by the solution without all of them."""
    features = np.concatenate([read(slice(row, row + 1))[:, 0] for row in group])
    z = system.standard.of(features) @ system.vectors
    wanted = _signs(targets[group], len(system.offset))
    shrunk = z * system.shrinkage(penalty)
    rest = (1.0 + np.finfo(np.float64).eps) * np.eye(len(group)) - (shrunk @ z.T + 1.0 / system.total)
    return np.asarray(wanted - np.linalg.solve(rest, wanted - (shrunk @ system.projected + system.offset)))


@dataclass(frozen=True)
class _Chosen:
    """penalty, temperature: of the lowest log loss. left_out, log_loss: as in Solved."""

    penalty: float
    temperature: float
    left_out: np.ndarray
    log_loss: float


def _chosen(system: _System, read: Read, targets: np.ndarray, weights: np.ndarray) -> _Chosen:
    judged = np.where(np.bincount(targets, minlength=len(system.offset))[targets] > 1, weights, 0.0)
    losses = np.zeros((len(PENALTIES), len(TEMPERATURES)))
    left_out = np.empty((len(PENALTIES), len(targets)), np.int64)
    for rows, number, scores in _left_out(system, read, targets, weights, PENALTIES):
        left_out[number, rows] = scores.argmax(axis=1)
        for column, temperature in enumerate(TEMPERATURES):
            losses[number, column] += _log_loss(temperature * scores, targets[rows], judged[rows])
    best, column = (int(i) for i in np.unravel_index(losses.argmin(), losses.shape))
    if not judged.any():
        best, column = PENALTIES.index(UNJUDGED[0]), TEMPERATURES.index(UNJUDGED[1])
    log_loss = float(losses[best, column] / judged.sum()) if judged.any() else math.nan
    return _Chosen(PENALTIES[best], TEMPERATURES[column], left_out[best], log_loss)


@dataclass(frozen=True)
class _System:
    """X'WX = V diag(values) V', for standardised features X.

    values: (d,). vectors: V, (d, d). projected: V'X'WY, (d, c). offset: the weighted mean of Y, (c,). total: sum of
    the weights. standard: how X comes from raw features. views: of an example.
    """

    values: np.ndarray
    vectors: np.ndarray
    projected: np.ndarray
    offset: np.ndarray
    total: float
    standard: Standard
    views: int

    def shrinkage(self, penalty: float) -> np.ndarray:
        """(d,): what each direction's part of `projected` is multiplied by."""
        return np.asarray(1.0 / (self.values + penalty * self.total))


def by_group(widths: Sequence[int]) -> np.ndarray:
    """(d,) scales that let groups of features, one after the other, weigh alike however many features each has.

    The variances of a group have the same sum as another's, d over the number of groups: a penalty of its own for each,
    in proportion to its width.
    """
    total = sum(widths)
    return np.concatenate([np.full(width, np.sqrt(total / (len(widths) * width))) for width in widths])


def _signs(targets: np.ndarray, n_classes: int) -> np.ndarray:
    """(n,) -> (n, c) float64: 1 for an example's class, -1 for the others."""
    return np.where(targets[:, None] == np.arange(n_classes), 1.0, -1.0)


def _decomposed(
    read: Read, targets: np.ndarray, weights: np.ndarray, n_classes: int, scale: np.ndarray | None
) -> _System:
    views, width = read(slice(0, 1)).shape[1:]
    total = float(weights.sum())
    offset = (weights[:, None] * _signs(targets, n_classes)).sum(axis=0) / total
    parts = list(standardise.chunks(len(targets), max(ROWS // views, 1)))
    mean = np.zeros(width)
    for rows in parts:
        x, w = standardise.flat(read(rows), weights[rows])
        mean += w @ x / total
    gram, moment = np.zeros((width, width)), np.zeros((width, n_classes))
    for rows in parts:
        x, w = standardise.flat(read(rows), weights[rows])
        x -= mean
        weighted = (w[:, None] * x).T
        gram += weighted @ x
        moment += weighted @ np.repeat(_signs(targets[rows], n_classes) - offset, views, axis=0)
    deviation = standardise.deviation(np.diag(gram) / total, mean) / (1.0 if scale is None else scale)
    values, vectors = np.linalg.eigh(gram / deviation[:, None] / deviation)
    projected = vectors.T @ (moment / deviation[:, None])
    return _System(np.maximum(values, 0.0), vectors, projected, offset, total, Standard(mean, deviation), views)


def _left_out(
    system: _System, read: Read, targets: np.ndarray, weights: np.ndarray, penalties: Sequence[float]
) -> Iterator[tuple[slice, int, np.ndarray]]:
    """(rows, number of the penalty, scores (rows, c) of the examples as they are, by the solution without them).

    H is an example's own block of the hat matrix, a row for each view, with the mean's part in it: the solution
    without the example misses its targets by (1 - H)^-1 times what the solution with it does.
    """
    one = np.eye(system.views)
    for rows in standardise.chunks(len(targets), max(ROWS // system.views, 1)):
        z = system.standard.of(read(rows).reshape(-1, len(system.values))) @ system.vectors
        wanted = _signs(targets[rows], len(system.offset))
        share = (weights[rows] / system.views)[:, None, None]
        by_example = (len(wanted), system.views, -1)
        across = z.reshape(by_example).transpose(0, 2, 1)
        for number, penalty in enumerate(penalties):
            shrunk = z * system.shrinkage(penalty)
            missed = wanted[:, None] - (shrunk @ system.projected + system.offset).reshape(by_example)
            hat = share * (shrunk.reshape(by_example) @ across + 1.0 / system.total)
            # A little more than 1 keeps it solvable where an example alone decides, as the only one with a weight.
            rest = (1.0 + np.finfo(np.float64).eps) * one - hat
            yield rows, number, wanted - np.linalg.solve(rest, missed)[:, 0]


def _log_loss(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """Sum of the weighted cross-entropies of the softmax. logits: (n, c)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]
    return float(weights @ losses)
