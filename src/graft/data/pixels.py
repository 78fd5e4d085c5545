"""Images of a catalogue, and views of them, as batches of pixels."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from graft.data import augment, catalogue
from graft.data.decode import Resizing, decode
from graft.data.sources import SOURCES

Wanted = tuple[int, int]
"""(position in the rows, view): view 0 is the image as it is, 1 and on are augmented."""


def batches(
    source: str,
    root: Path,
    rows: pd.DataFrame,
    resizing: Resizing,
    size: int,
    wanted: Sequence[Sequence[int]] | None = None,
    augmentation: Mapping[str, Any] | None = None,
) -> Iterator[tuple[list[Wanted], np.ndarray]]:
    """What each pixel array of a batch is, and the batch: (at most `size`, side, side, 3) uint8, in order.

    wanted: the views of each row; None for the image as it is. augmentation: as `augment.view` takes.
    Files are read, decoded and augmented on all cores, two batches ahead of the consumer.
    Raises StaleError as `catalogue.reader` does.
    """
    read = catalogue.reader(SOURCES[source], root)
    entries = list(zip(rows["path"], rows["sha256"], strict=True))
    views = wanted if wanted is not None else [(0,)] * len(entries)

    def seen(i: int) -> list[tuple[Wanted, np.ndarray]]:
        path, sha256 = entries[i]
        plain = decode(read(path, sha256), resizing)
        return [((i, k), plain if k == 0 else augment.numbered(plain, augmentation or {}, sha256, k)) for k in views[i]]

    batch: list[tuple[Wanted, np.ndarray]] = []
    for group in _ahead(seen, len(entries), 2 * size):
        for one in group:
            batch.append(one)
            if len(batch) == size:
                yield [which for which, _ in batch], np.stack([pixels for _, pixels in batch])
                batch = []
    if batch:
        yield [which for which, _ in batch], np.stack([pixels for _, pixels in batch])


def _ahead(work: Any, n: int, most: int) -> Iterator[Any]:
    """work(0), work(1), ... work(n - 1), at most `most` of them begun before they are asked for."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        begun: deque[Future[Any]] = deque()
        try:
            for i in range(n):
                begun.append(pool.submit(work, i))
                if len(begun) >= most:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
