"""Blocks of examples, worked on side by side. What they give comes in their order, however many threads there are: sums
over blocks are the same to the byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from graft.runtime import cores
from graft.runtime.reading.prefetch import prefetched

T = TypeVar("T")

ROWS = 4096
"""Views that make a block."""

MOST_BYTES = 2**31
"""That blocks may take which are worked on at the same time."""


def each(work: Callable[[slice], T], n: int, views: int, width: int) -> Iterator[T]:
    """work(block) of n examples of `views` by `width` features, in order: on every core, as far as MOST_BYTES reach."""
    # A block's features as they are read, in float64 and weighted, and the products of all pairs of them.
    n_bytes = (4 + 8 + 8) * ROWS * width + 8 * width**2
    threads = max(1, min(cores.available(), MOST_BYTES // n_bytes))
    return prefetched(work, chunks(slice(0, n), max(ROWS // views, 1)), threads, threads + 1)


def chunks(rows: slice, size: int) -> Iterator[slice]:
    """`size` or fewer of the examples at a time."""
    return (slice(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size))


@contextmanager
def one_thread() -> Iterator[None]:
    """Around matrix products and decompositions, whose sums would else depend on the number of cores."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
