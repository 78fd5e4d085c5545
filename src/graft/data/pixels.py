"""Decoded images of a catalogue, once, in a memory-mapped temporary file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from graft.data.catalogue import read_images
from graft.data.decode import Resizing, decode
from graft.data.sources import SOURCES
from graft.progress import track


def batches(source: str, root: Path, rows: pd.DataFrame, resizing: Resizing, size: int) -> Iterator[np.ndarray]:
    """(at most `size`, side, side, 3) uint8 batches of the images in `rows`, in order.

    Files are read and decoded on all cores, one batch ahead of the consumer.
    Raises StaleError as `read_images` does.
    """
    images = read_images(SOURCES[source], root, rows)
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def begin() -> list[Future[np.ndarray]]:
            return [pool.submit(decode, data, resizing) for data in islice(images, size)]

        upcoming = begin()
        while upcoming:
            current, upcoming = upcoming, begin()
            yield np.stack([future.result() for future in current])


@contextmanager
def decoded(source: str, root: Path, rows: pd.DataFrame, resizing: Resizing) -> Iterator[np.ndarray]:
    """All images of `rows`, (n, side, side, 3) uint8, in a file that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="graft-") as folder:
        shape = (len(rows), resizing.side, resizing.side, 3)
        array = np.lib.format.open_memmap(Path(folder) / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
        done = 0
        for batch in track(batches(source, root, rows, resizing, 64), len(rows), "decoding", len):
            array[done : done + len(batch)] = batch
            done += len(batch)
        yield array
