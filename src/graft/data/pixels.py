"""Images of a catalogue, and views of them, as batches of pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from graft import cores
from graft.ahead import ahead
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
    for group in ahead(seen, range(len(entries)), cores.available(), 2 * size):
        for one in group:
            batch.append(one)
            if len(batch) == size:
                yield [which for which, _ in batch], np.stack([pixels for _, pixels in batch])
                batch = []
    if batch:
        yield [which for which, _ in batch], np.stack([pixels for _, pixels in batch])
