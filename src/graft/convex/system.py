"""Least squares on class indicators, standardised and decomposed: every penalty's solution is a product away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from graft.convex import blocks, standardise, statistics
from graft.convex.standardise import Standard
from graft.convex.statistics import Statistics

T = TypeVar("T")
R = TypeVar("R")

Read = Callable[[slice], np.ndarray]
"""Some of n examples -> their features (b, v, d), any float: v views of each, which count together as one example.
Called on several threads."""


@dataclass(frozen=True)
class Problem:
    """targets: (n,) int64. weights: (n,) float64, at least 0, with a sum above 0. views: of an example. width: d.

    runner: works on its blocks.
    """

    read: Read
    targets: np.ndarray
    weights: np.ndarray
    n_classes: int
    views: int
    width: int
    runner: Runner

    def wanted(self, rows: slice) -> np.ndarray:
        """(b, c) float64: 1 for an example's class, -1 for the others."""
        return np.where(self.targets[rows, None] == np.arange(self.n_classes), 1.0, -1.0)

    def each(self, work: Callable[[slice], T], rows: slice) -> Iterator[T]:
        """work(some of the examples) of these, in their order, in this process."""
        return blocks.each(work, rows, self.views, self.width)

    def runs(self, work: Callable[[Problem, slice], T], join: Callable[[Iterator[T]], R]) -> Iterator[R]:
        """What `runner` gives of all examples."""
        return self.runner(self, work, join)


class Runner(Protocol):
    """Works on all blocks of a problem, in this process or in others."""

    def __call__(
        self, given: Problem, work: Callable[[Problem, slice], T], join: Callable[[Iterator[T]], R]
    ) -> Iterator[R]:
        """join(work(given, block) of the blocks of a run) of each run, all in their order.

        work, join: can be pickled.
        """


def here(given: Problem, work: Callable[[Problem, slice], T], join: Callable[[Iterator[T]], R]) -> Iterator[R]:
    """In this process: the runner that needs nothing."""
    return blocks.by_run(given.each(partial(work, given), slice(0, len(given.targets))), join)


def problem(read: Read, targets: np.ndarray, weights: np.ndarray, n_classes: int, runner: Runner = here) -> Problem:
    """weights: of any float."""
    _, views, width = read(slice(0, 1)).shape
    return Problem(read, targets, weights.astype(np.float64), n_classes, views, width, runner)


@dataclass(frozen=True)
class System:
    """X'WX = V diag(values) V', for standardised features X and indicators Y.

    values: (d,). vectors: V, (d, d). projected: V'X'WY, (d, c). offset: the weighted mean of Y, (c,). total: sum of
    the weights. standard: how X comes from raw features.
    """

    values: np.ndarray
    vectors: np.ndarray
    projected: np.ndarray
    offset: np.ndarray
    total: float
    standard: Standard

    def shrinkage(self, penalty: float) -> np.ndarray:
        """(d,): what each direction's part of `projected` is multiplied by."""
        return np.asarray(1.0 / (self.values + penalty * self.total))

    def turned(self, features: np.ndarray) -> np.ndarray:
        """(..., d) raw features -> (..., d) float64, along V."""
        return np.asarray(self.standard.of(features) @ self.vectors)


def decomposed(given: Problem, scale: np.ndarray | None) -> System:
    """scale: (d,), the deviation that each feature is given; None for 1."""
    sums = statistics.merged(given.runs(_summed, statistics.merged))
    deviation = standardise.deviation(np.diag(sums.gram) / sums.total, sums.mean) / (1.0 if scale is None else scale)
    values, vectors = np.linalg.eigh(sums.gram / deviation[:, None] / deviation)
    projected = vectors.T @ (sums.moment / deviation[:, None])
    return System(np.maximum(values, 0.0), vectors, projected, sums.offset, sums.total, Standard(sums.mean, deviation))


def _summed(given: Problem, rows: slice) -> Statistics:
    return statistics.of_block(given.read(rows), given.wanted(rows), given.weights[rows])
