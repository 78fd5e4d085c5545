"""The examples of a training in batches, pass after pass, fetched ahead of the steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graft.runtime.reading.prefetch import prefetched
from graft.training import lengths

if TYPE_CHECKING:
    import keras

Fetch = Callable[[np.ndarray, int], np.ndarray]
"""(row numbers (b,), epoch from 0) -> inputs (b, ...) float32. Called on a thread of its own."""


MOST_BATCHES, MOST_BYTES = 16, 2**24
"""That are fetched at a time: handing over one batch from a thread costs as much as a step of a small head."""


CALL_SECONDS = 0.2
"""Of steps in one call, which nothing can interrupt."""


@dataclass(frozen=True)
class Examples:
    """rows: row numbers (n,) for `fetch`. Parallel to them: targets, (n,) int64; weights, (n,) float32, of the loss."""

    rows: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Batch:
    """inputs (b, ...) float32, targets (b,) int64, weights (b,) float32 of the loss."""

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def of(
    model: keras.Model, examples: Examples, fetch: Fetch, size: int, by_class: np.ndarray, passes: int, seed: int
) -> Generator[Batch]:
    """Batches of `size`, one of a pass smaller, pass after pass, each in an order of its own.

    by_class: (n_classes,) weights. Where a model takes any length, examples that are fetched together are sorted by
    theirs, so that a batch is no longer than it must be, and the batches then drawn in an order that knows no length.
    """
    at_a_time = size * _at_a_time(size, model)

    def pieces() -> Iterator[tuple[int, np.ndarray]]:
        for epoch in range(passes):
            order = np.random.default_rng([seed, epoch]).permutation(len(examples.rows))
            for start in range(0, len(order), at_a_time):
                yield epoch, order[start : start + at_a_time]

    def fetched(piece: tuple[int, np.ndarray]) -> tuple[Batch, list[np.ndarray]]:
        epoch, chosen = piece
        targets = examples.targets[chosen]
        inputs = fetch(examples.rows[chosen], epoch)
        weights = by_class[targets] * examples.weights[chosen]
        return Batch(inputs, targets, weights), _parts(model, inputs, size, [seed, epoch, int(chosen[0])])

    for piece, parts in prefetched(fetched, pieces(), threads=1, most=2):
        for part in parts:
            inputs = lengths.shortened(model, piece.inputs[part])
            yield Batch(inputs, piece.targets[part], piece.weights[part])


class Pace:
    """How many steps one call makes: no more than take CALL_SECONDS, by those of the call before; the first call, which
    brings up a graph, makes one and tells nothing."""

    def __init__(self) -> None:
        self.most = 1
        self._begun = False

    @contextmanager
    def making(self, n_steps: int) -> Iterator[None]:
        """Around a call."""
        start = time.monotonic()
        yield
        if self._begun:
            seconds = max(time.monotonic() - start, 1e-9) / n_steps
            self.most = max(1, min(MOST_BATCHES, int(CALL_SECONDS / seconds)))
        self._begun = True


def alike(batches: Iterable[Batch], pace: Pace) -> Iterator[list[Batch]]:
    """The same batches, those of one shape that follow each other as one group, of the sizes that are fetched."""
    group: list[Batch] = []
    for batch in batches:
        size = (len(group) + 1) * batch.inputs.nbytes
        if group and (batch.inputs.shape != group[0].inputs.shape or len(group) >= pace.most or size > MOST_BYTES):
            yield group
            group = []
        group.append(batch)
    if group:
        yield group


def _parts(model: keras.Model, inputs: np.ndarray, size: int, seeds: list[int]) -> list[np.ndarray]:
    """Row numbers of each batch of what was fetched together."""
    rows = np.arange(len(inputs))
    if lengths.is_open(model):
        rows = np.argsort(lengths.of(inputs), kind="stable")
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    if lengths.is_open(model):
        np.random.default_rng(seeds).shuffle(parts)
    return parts


def _at_a_time(batch_size: int, model: keras.Model) -> int:
    """1 to MOST_BATCHES of them, whose inputs take no more than MOST_BYTES; of texts, for each token."""
    batch_bytes: int = 4 * batch_size * math.prod(size or 1 for size in model.input_shape[1:])
    return max(1, min(MOST_BATCHES, MOST_BYTES // batch_bytes))
