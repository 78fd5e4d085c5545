"""Ridge regression on class indicators, -1 and 1, with the penalty that answers best for examples that it has not seen.

Two passes over the features, block by block: sums, which are decomposed once for every penalty, and leaving out one by
one. No pass holds more of an example than what each penalty answers for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graft.convex import blocks, leaving_out, system
from graft.convex.system import Read, Runner


@dataclass(frozen=True)
class Solved:
    """A solution for raw features: softmax(features @ kernel + bias).

    kernel: (d, c) float64. bias: (c,) float64. penalty, temperature: as chosen, the temperature in both already.
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
    read: Read,
    targets: np.ndarray,
    weights: np.ndarray,
    n_classes: int,
    scale: np.ndarray | None = None,
    runner: Runner = system.here,
) -> Solved:
    """The penalty and temperature of the lowest log loss on examples left out one by one, and the solution for all.

    An example is left out with all its views, and judged by the first of them, which is the example as it is. The
    standardisation stays that of all examples.

    targets: (n,) int64. weights: (n,), at least 0, with a sum above 0. scale: (d,), the deviation that each feature is
    given; None for 1, and else with a mean square of 1, so that a penalty means the same. runner: of both passes.

    Values are the same on every processor where products of matrices are (`runtime.computing.numerics`): logarithms and
    exponentials, which are not, only choose among PENALTIES and TEMPERATURES.
    """
    given = system.problem(read, targets, weights, n_classes, runner)
    with blocks.one_thread():
        found = system.decomposed(given, scale)
        chosen = leaving_out.choose(found, given)
        solution = found.vectors @ (found.projected * found.shrinkage(chosen.penalty)[:, None])
        kernel, bias = found.standard.folded(solution, found.offset)
    return Solved(
        chosen.temperature * kernel,
        chosen.temperature * bias,
        chosen.penalty,
        chosen.temperature,
        chosen.answers,
        chosen.log_loss,
    )


@dataclass(frozen=True)
class LeftOut:
    """logits: (n, c) float64 of each example, by the solution without it and its group; of the softmax.

    penalty, temperature: as chosen, the temperature in the logits already.
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
    given = system.problem(read, targets, np.ones(len(targets)), n_classes)
    with blocks.one_thread():
        found = system.decomposed(given, scale)
        chosen = leaving_out.choose(found, given)
        logits = leaving_out.logits(found, given, chosen.penalty)
        for group in groups:
            logits[group] = leaving_out.together(found, given, chosen.penalty, group)
    return LeftOut(chosen.temperature * logits, chosen.penalty, chosen.temperature)


def by_group(widths: Sequence[int]) -> np.ndarray:
    """(d,) scales that let groups of features, one after the other, weigh alike however many features each has.

    The variances of a group have the same sum as another's, d over the number of groups: a penalty of its own for each,
    in proportion to its width.
    """
    total = sum(widths)
    return np.concatenate([np.full(width, np.sqrt(total / (len(widths) * width))) for width in widths])
