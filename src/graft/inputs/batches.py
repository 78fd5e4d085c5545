"""Examples, and views of them, as batches of arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graft.inputs.spec import Arrays, InputSpec
from graft.runtime.cores import available
from graft.runtime.reading.prefetch import prefetched

Read = Callable[[str, str], bytes]
"""(path, sha256) -> the bytes of an example; several threads may call it."""

Key = tuple[str, int]
"""(sha256 of the example's file, view)"""

Row = tuple[Key, Arrays]
"""One view of one example: arrays without the dimension of a batch."""


@dataclass(frozen=True)
class Task:
    """Views of one example. path, sha256: of its file. views: their numbers, 0 for the example as it is."""

    path: str
    sha256: str
    views: tuple[int, ...] = (0,)


AHEAD = 32
"""Examples that are read and decoded before they are asked for, at least; else two batches."""


def batches(spec: InputSpec, read: Read, tasks: Sequence[Task], size: int) -> Iterator[tuple[list[Key], Arrays]]:
    """What each row of a batch is, and the batch: arrays of at most `size` rows, in the order of `tasks`.

    Files are read, decoded and augmented on all cores, ahead of the consumer. Raises what `read` and the spec raise.
    """

    batch: list[Row] = []
    for group in prefetched(lambda task: rows(spec, read, task), tasks, available(), max(2 * size, AHEAD)):
        for one in group:
            batch.append(one)
            if len(batch) == size:
                yield stacked(batch)
                batch = []
    if batch:
        yield stacked(batch)


def rows(spec: InputSpec, read: Read, task: Task) -> list[Row]:
    """Each view of one example. Raises what `read` and the spec raise."""
    arrays = spec.arrays(read(task.path, task.sha256), task.sha256, task.views)
    return [((task.sha256, view), one) for view, one in zip(task.views, arrays, strict=True)]


def of_one_shape(views: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Batches of at most `size`, each of one shape: how long its neighbours are does not matter to an example."""
    by_shape: dict[tuple[tuple[int, ...], ...], list[Row]] = {}
    for row in views:
        by_shape.setdefault(tuple(array.shape for array in row[1].values()), []).append(row)
    for same in by_shape.values():
        yield from (same[start : start + size] for start in range(0, len(same), size))


def stacked(batch: Sequence[Row]) -> tuple[list[Key], Arrays]:
    """The keys, and the arrays (n, ...) by the names of the inputs; zeros where one is shorter than the longest."""
    names = batch[0][1]
    return [key for key, _ in batch], {name: _stack([arrays[name] for _, arrays in batch]) for name in names}


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    if len({one.shape for one in arrays}) > 1:
        longest = max(len(one) for one in arrays)
        arrays = [lengthened(one, longest) for one in arrays]
    return np.stack(arrays)


def lengthened(array: np.ndarray, length: int, axis: int = 0) -> np.ndarray:
    """The same with zeros behind it along one axis, up to a length."""
    missing = length - array.shape[axis]
    return np.pad(array, [(0, missing if i == axis else 0) for i in range(array.ndim)]) if missing else array
