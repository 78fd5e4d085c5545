"""What least squares needs of features and targets: sums, in one pass over the blocks of the examples.

Each block is summed about its own means and then merged with those before it in its run, and runs, which other
processes may have made, with each other; so that nothing is lost where means are large against deviations: Chan, Golub
& LeVeque 1979, http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np


@dataclass(frozen=True)
class Statistics:
    """Of features x and targets y, each example with a weight w.

    total: sum of w. mean: of x, (d,). rest: (d,), what rounding has taken from it. offset: the mean of y, (c,).
    gram: sum of w (x - mean)(x - mean)', (d, d). moment: sum of w (x - mean)(y - offset)', (d, c).
    """

    total: float
    mean: np.ndarray
    rest: np.ndarray
    offset: np.ndarray
    gram: np.ndarray
    moment: np.ndarray


def of_block(features: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Statistics:
    """features: (b, v, d) of any float; the views of an example share its weight. targets: (b, c). weights: (b,)."""
    views = features.shape[1]
    total = float(weights.sum())
    x = features.reshape(-1, features.shape[-1]).astype(np.float64)
    w = np.repeat(weights / views, views)
    mean = w @ x / (total or 1.0)
    x -= mean
    rest = w @ x / (total or 1.0)
    offset = (weights[:, None] * targets).sum(axis=0) / (total or 1.0)
    weighted = (w[:, None] * x).T
    moment = weighted @ np.repeat(targets - offset, views, axis=0)
    return Statistics(total, mean, rest, offset, weighted @ x, moment)


def merged(blocks: Iterable[Statistics]) -> Statistics:
    """Of all blocks, of which there is one at least; arrays of the first that has a weight are written over."""
    return reduce(_and_one_more, blocks)


def _and_one_more(so_far: Statistics, block: Statistics) -> Statistics:
    if not so_far.total or not block.total:
        return block if block.total else so_far
    total = so_far.total + block.total
    share = block.total / total
    beyond = (block.mean - so_far.mean) + (block.rest - so_far.rest)
    above = block.offset - so_far.offset
    for sums, more, apart in ((so_far.gram, block.gram, beyond), (so_far.moment, block.moment, above)):
        sums += more
        sums += np.outer(so_far.total * share * beyond, apart)
    mean = so_far.mean + share * beyond
    rest = so_far.rest + ((so_far.mean - mean) + share * beyond)
    return Statistics(total, mean, rest, so_far.offset + share * above, so_far.gram, so_far.moment)
