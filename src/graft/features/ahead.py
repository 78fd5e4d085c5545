"""Parts of a file that are wanted next, read by the kernel many at a time.

Where a mapped file is not in memory, a thread that touches its pages waits for one read after the other, and the kernel
reads megabytes around each, which it takes for the beginning of a longer way.
"""

from __future__ import annotations

import os

import numpy as np

PAGE = 4096

PIECE = 2**17
"""Bytes of one request: the kernel reads no more for it than its readahead, which is at least that by default."""


def announce(array: np.ndarray, entries: np.ndarray, size: int) -> None:
    """That entries of an array are read next, in any order. Does nothing where the array is not mapped from a file.

    entries: (k,) numbers, as if the array were one of entries of `size` bytes, one after the other.
    """
    if not isinstance(array, np.memmap) or array.filename is None or not hasattr(os, "posix_fadvise"):
        return
    starts = array.offset + np.sort(entries) * size
    first, last = starts // PAGE * PAGE, -(-(starts + size) // PAGE) * PAGE
    apart = np.flatnonzero(first[1:] > last[:-1])
    runs = zip(first[np.append(0, apart + 1)].tolist(), last[np.append(apart, -1)].tolist(), strict=True)
    with open(array.filename, "rb") as file:
        for start, stop in runs:
            for at in range(start, stop, PIECE):
                os.posix_fadvise(file.fileno(), at, min(PIECE, stop - at), os.POSIX_FADV_WILLNEED)
