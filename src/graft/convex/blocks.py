"""Blocks of examples, worked on side by side, and runs of blocks, whose results are joined before they meet others.

What they give comes in their order, however many threads or processes there are: sums over blocks, and then over runs,
are the same to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from graft.runtime import cores
from graft.runtime.reading.prefetch import prefetched

T = TypeVar("T")
R = TypeVar("R")

ROWS = 4096
"""Views that make a block."""

RUN = 8
"""Blocks of a run: what a process sends to another is joined first. Of a million examples of six views, 180 runs."""

MOST_BYTES = 2**31
"""That blocks may take which are worked on at the same time."""


def each(work: Callable[[slice], T], rows: slice, views: int, width: int) -> Iterator[T]:
    """work(block) of examples of `views` by `width` features, in order: on every core, as far as MOST_BYTES reach."""
    # A block's features as they are read, in float64 and weighted, and the products of all pairs of them.
    n_bytes = (4 + 8 + 8) * ROWS * width + 8 * width**2
    threads = max(1, min(cores.available(), MOST_BYTES // n_bytes))
    return prefetched(work, chunks(rows, _examples(views)), threads, threads + 1)


def runs(n: int, views: int) -> Iterator[slice]:
    """Of n examples, those of each run."""
    return chunks(slice(0, n), RUN * _examples(views))


def by_run(results: Iterator[T], join: Callable[[Iterator[T]], R]) -> Iterator[R]:
    """join(results of a run) of each run. results: of all blocks, in order."""
    for first in results:
        yield join(chain([first], islice(results, RUN - 1)))


def _examples(views: int) -> int:
    """Of a block."""
    return max(ROWS // views, 1)


def chunks(rows: slice, size: int) -> Iterator[slice]:
    """`size` or fewer of the examples at a time."""
    return (slice(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size))


@contextmanager
def one_thread() -> Iterator[None]:
    """Around matrix products and decompositions, whose sums would else depend on the number of cores."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def library() -> str:
    """What multiplies NumPy's matrices, and for which kind of processor: 'openblas 0.3.29 Haswell'."""
    import numpy as np
    from threadpoolctl import threadpool_info

    loaded = [one for one in threadpool_info() if one["user_api"] == "blas"]
    own = [one for one in loaded if Path(one["filepath"]).parent.name == f"{np.__name__}.libs"]
    return ", ".join(
        sorted(f"{one['internal_api']} {one['version']} {one.get('architecture')}" for one in own or loaded)
    )
