"""Logistic regression, whose penalty is the one of the lowest log loss on parts of the examples that it has not seen.

Five folds: leaving out one by one costs a solution for each example, and its approximations (Rad & Maleki 2020,
https://arxiv.org/abs/1801.10243) the inverse of a matrix with a row for each weight.

Each step of L-BFGS is a pass over the features, block by block; sums are added in the order of the blocks, however many
threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import joblib
import numpy as np

from graft.convex import blocks, standardise
from graft.convex.standardise import Standard
from graft.errors import TrainingError
from graft.runtime.progress import say

T = TypeVar("T")

Read = Callable[[slice], np.ndarray]
"""Some of n examples -> their features (b, d), any float. Called on several threads."""

PENALTIES = tuple(10.0 ** (-k / 2) for k in range(9))
"""Of half a squared weight against the mean loss, strongest first: 1 to 0.0001."""

FOLDS = 5

TOLERANCE, OF_FOLDS = 1e-5, 1e-4
"""Of the largest entry of the mean loss's gradient; and where a solution does nothing but choose among PENALTIES."""

MOST_STEPS = 1000

HELD_BYTES = 2**31
"""Of features that are held in memory, as they are stored, since each is read some hundred times; of more than that,
a block at a time is read from the disk."""


@dataclass(frozen=True)
class Solved:
    """A solution for raw features: softmax(features @ kernel + bias).

    kernel: (d, c) float64. bias: (c,) float64. penalty: of PENALTIES. log_loss: weighted mean over held-out examples.
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalty: float
    log_loss: float


def solve(read: Read, targets: np.ndarray, weights: np.ndarray, n_classes: int) -> Solved:
    """targets: (n,) int64. weights: (n,), at least 0, with a sum above 0.

    Raises TrainingError where fewer than two classes have examples, or no class has two of them.
    """
    given = _Examples(_held(read, len(targets)), targets, weights.astype(np.float64), read(slice(0, 1)).shape[1])
    with blocks.one_thread():
        standard = _standard(given)
        losses, judged = _held_out(given, standard)
        if not judged:
            raise TrainingError(
                "train.head: logistic chooses its penalty on training examples that are held out, and needs two of a "
                "class for that. The split has one of each; set train.head: ridge."
            )
        best = int(losses.argmin())
        every = _Objective(given, standard, np.ones(len(targets), bool), given.side_by_side)
        (solution,) = every.solutions([PENALTIES[best]], TOLERANCE)
        kernel, bias = standard.folded(*every.of_all_classes(solution, n_classes))
    return Solved(kernel, bias, PENALTIES[best], float(losses[best] / judged))


def _held(read: Read, n: int) -> Read:
    """The same features, in memory where they are at most HELD_BYTES."""
    first = read(slice(0, 1))
    if n * first.nbytes > HELD_BYTES:
        return read
    held = np.empty((n, *first.shape[1:]), first.dtype)
    for rows in blocks.chunks(slice(0, n), blocks.ROWS):
        held[rows] = read(rows)
    return held.__getitem__


@dataclass(frozen=True)
class _Examples:
    """targets: (n,) int64. weights: (n,) float64. width: d."""

    read: Read
    targets: np.ndarray
    weights: np.ndarray
    width: int

    def side_by_side(self, work: Callable[[slice], T]) -> Iterator[T]:
        """work(some of the examples) of all of them, in their order, on every core."""
        return blocks.each(work, slice(0, len(self.targets)), 1, self.width)

    def one_by_one(self, work: Callable[[slice], T]) -> Iterator[T]:
        """The same, on this thread."""
        return map(work, blocks.chunks(slice(0, len(self.targets)), blocks.ROWS))


PATIENCE = 1
"""Penalties that are worse than the best one, after which no weaker one is tried."""


def _held_out(given: _Examples, standard: Standard) -> tuple[np.ndarray, float]:
    """For each penalty, as far as they were tried, the log loss summed over held-out examples; and their weight.

    The folds of a penalty are solved side by side, each from its own solution for the penalty before.
    """
    folds = _folds(given.targets)
    parts, judged = [], 0.0
    for fold in range(FOLDS):
        inside = folds != fold
        # A class of which all examples are held out cannot be answered, whatever the penalty.
        held = ~inside & np.isin(given.targets, given.targets[inside])
        judged += given.weights[held].sum()
        part = _Objective(given, standard, inside, given.one_by_one)
        parts.append((part, held, part.solutions(PENALTIES, OF_FOLDS)))

    def loss(part: _Objective, held: np.ndarray, solutions: Iterator[np.ndarray]) -> float:
        return part.loss_on(held, next(solutions))

    losses: list[float] = []
    while len(losses) < len(PENALTIES) and len(losses) - np.argmin([*losses, np.inf]) <= PATIENCE:
        of_folds = joblib.Parallel(joblib.cpu_count(), backend="threading")(joblib.delayed(loss)(*one) for one in parts)
        losses.append(sum(of_folds))
    return np.array(losses), judged


def _standard(given: _Examples) -> Standard:
    """Mean first, then what is left of it: two passes."""
    share = given.weights / given.weights.sum()
    mean = sum(given.side_by_side(lambda rows: share[rows] @ given.read(rows).astype(np.float64)))
    variance = sum(given.side_by_side(lambda rows: share[rows] @ (given.read(rows) - mean) ** 2))
    return Standard(np.asarray(mean), standardise.deviation(np.asarray(variance), np.asarray(mean)))


def _folds(targets: np.ndarray) -> np.ndarray:
    """(n,) -> (n,) int64: the examples of each class in turn, the next class where the last one stopped."""
    folds = np.empty(len(targets), np.int64)
    folds[np.argsort(targets, kind="stable")] = np.arange(len(targets)) % FOLDS
    return folds


LOG2_E = 1.0 / np.log(2.0)

NEVER = -30.0
"""Bias of a class without training examples: a probability of about 1e-13."""


class _Objective:
    """Half a squared weight times a penalty, and the mean loss of some of the examples.

    A solution is (k, d + 1): a row of weights for standardised features, and their bias, for each class that has
    examples; of two, for the second alone, against no weight for the first.
    inside: (n,) bool, which examples. each: how their blocks are gone through.
    """

    def __init__(
        self,
        given: _Examples,
        standard: Standard,
        inside: np.ndarray,
        each: Callable[
            [Callable[[slice], tuple[float, np.ndarray, np.ndarray]]], Iterator[tuple[float, np.ndarray, np.ndarray]]
        ],
    ) -> None:
        self._given, self._standard, self._inside, self._each = given, standard, inside, each
        self._classes = np.unique(given.targets[inside])
        if len(self._classes) < 2:
            raise TrainingError("train.head: logistic needs training examples of two classes at least. Got one.")
        self._total = given.weights[inside].sum()
        self._k = len(self._classes) if len(self._classes) > 2 else 1

    def solutions(self, penalties: Sequence[float], tolerance: float) -> Iterator[np.ndarray]:
        """For each penalty, from the one before."""
        from scipy import optimize  # which takes as long as training a small head

        found = np.zeros((self._k, self._given.width + 1))
        limits = {"maxiter": MOST_STEPS, "maxls": 50, "gtol": tolerance, "ftol": 64 * np.finfo(np.float64).eps}
        for penalty in penalties:
            result = optimize.minimize(
                self._loss_and_gradient, found.ravel(), penalty, "L-BFGS-B", jac=True, options=limits
            )
            if not result.success:
                say(f"note: logistic: penalty {penalty:.3g} is not solved to its end: {result.message}")
            found = result.x.reshape(found.shape)
            yield found

    def _loss_and_gradient(self, flat: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
        solution = flat.reshape(self._k, -1)
        kernel, bias = self._raw(solution)

        def summed(rows: slice) -> tuple[float, np.ndarray, np.ndarray]:
            inside = self._inside[rows]
            x = self._given.read(rows)[inside].astype(np.float64)
            losses, errors = self._losses(x @ kernel + bias, self._given.targets[rows][inside])
            weights = self._given.weights[rows][inside]
            errors = errors[:, -self._k :] * weights[:, None]
            return float(weights @ losses), errors.T @ x, errors.sum(axis=0)

        loss, moment, offset = 0.0, np.zeros((self._k, self._given.width)), np.zeros(self._k)
        for of_block, moment_of_block, offset_of_block in self._each(summed):
            loss += of_block
            moment += moment_of_block
            offset += offset_of_block
        weights = solution[:, :-1]
        gradient = (moment - np.outer(offset, self._standard.mean)) / self._standard.deviation / self._total
        both = np.concatenate([gradient + penalty * weights, offset[:, None] / self._total], axis=1)
        return loss / self._total + penalty / 2 * float((weights**2).sum()), both.ravel()

    def _raw(self, solution: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kernel (d, k) and bias (k,) that give the same for raw features."""
        return self._standard.folded(solution[:, :-1].T, solution[:, -1])

    def _losses(self, logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(b,) each example's loss, and (b, c) what its probabilities are beyond those that it should have.

        NumPy's own exponential and logarithm give other last digits where a processor has AVX-512.
        """
        from scipy import special

        if self._k == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        own = np.arange(len(targets)), np.searchsorted(self._classes, targets)
        shifted = logits - logits.max(axis=1, keepdims=True)
        powers = special.exp2(LOG2_E * shifted)
        total = powers.sum(axis=1)
        losses = special.log1p(total - 1.0) - shifted[own]
        errors = powers / total[:, None]
        errors[own] -= 1.0
        return losses, errors

    def loss_on(self, chosen: np.ndarray, solution: np.ndarray) -> float:
        """Weighted sum over other examples, of the same classes. chosen: (n,) bool."""
        kernel, bias = self._raw(solution)

        def summed(rows: slice) -> float:
            x = self._given.read(rows)[chosen[rows]].astype(np.float64)
            losses, _ = self._losses(x @ kernel + bias, self._given.targets[rows][chosen[rows]])
            return float(self._given.weights[rows][chosen[rows]] @ losses)

        return sum(self._given.one_by_one(summed))

    def of_all_classes(self, solution: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """(d, c) and (c,), also of classes without training examples; those of two share what stands between them."""
        rows = np.concatenate([-solution, solution]) / 2 if self._k == 1 else solution
        kernel, bias = np.zeros((self._given.width, n_classes)), np.full(n_classes, NEVER)
        kernel[:, self._classes], bias[self._classes] = rows[:, :-1].T, rows[:, -1]
        return kernel, bias
