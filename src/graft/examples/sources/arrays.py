"""Sources whose images are arrays in memory: digits, and the data sets of keras.datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.errors import DataError
from graft.examples.sources.base import Item, Items, Source, SplitName, listed

if TYPE_CHECKING:
    from graft.config.data import DataParams


@dataclass(frozen=True)
class Part:
    """Records of one part. pixels: (n, h, w) grey or (n, h, w, 3) RGB, uint8. labels: n class names.

    prefix: of the items' paths. split: the official one, or None.
    """

    prefix: str
    split: SplitName | None
    pixels: np.ndarray
    labels: list[str]


class ArrayReader:
    """Gives a record as a binary PGM or PPM: bytes that depend on the pixels alone, not on an encoder's version."""

    cheap_to_open = False
    waits = False

    def __init__(self, parts: Callable[[], list[Part]]) -> None:
        self._parts = parts
        self._pixels: dict[str, np.ndarray] = {}

    def size(self, path: str) -> int:
        record = self._record(path)
        return len(_header(record)) + record.nbytes

    def read(self, path: str) -> bytes:
        record = self._record(path)
        return _header(record) + bytes(record.tobytes())

    def _record(self, path: str) -> np.ndarray:
        if not self._pixels:
            self._pixels = {part.prefix: part.pixels for part in self._parts()}
        prefix, _, name = path.rpartition("/")
        return np.asarray(self._pixels[prefix][int(name.partition(".")[0])])

    def stamp(self, path: str) -> None:
        return None


def _header(record: np.ndarray) -> bytes:
    kind = b"P5" if record.ndim == 2 else b"P6"
    return kind + b" %d %d 255\n" % (record.shape[1], record.shape[0])


def source(name: str, folder: str, parts: Callable[[], list[Part]]) -> Source:
    """folder: what `data.path` should be; DVC needs a path, and the data set's notes live there."""

    def require_folder(path: Path) -> None:
        if not path.is_dir():
            raise DataError(
                f"data.path: must be a directory for data.source: {name} (its notes live there). Got {str(path)!r}; "
                f"set data.path: {folder}."
            )

    def scan(data: DataParams) -> Items:
        require_folder(Path(data.path))
        return listed(_items(parts()))

    def open_reader(path: Path) -> ArrayReader:
        require_folder(path)
        return ArrayReader(parts)

    return Source(scan, open_reader)


def _items(parts: list[Part]) -> Iterator[Item]:
    for part in parts:
        suffix = "pgm" if part.pixels.ndim == 3 else "ppm"
        digits = max(4, len(str(len(part.labels) - 1)))
        for i, label in enumerate(part.labels):
            name = f"{i:0{digits}d}.{suffix}"
            yield Item(f"{part.prefix}/{name}" if part.prefix else name, label, part.split)
