"""An array on disk: one file, array.npy, or several where it is large, array-00000.npy and so on, its rows in order.

How many rows a file has follows from the shape of a row alone. So rows that are added behind the others leave all files
but the last as they are, and DVC sends what is new; and no file outgrows what a file system or a bucket takes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from graft.features import ahead

WHOLE = "array.npy"
PATTERN = "array*.npy"

FILE_BYTES = 10**9
"""Of the values in a file, at most, but for a row that is larger. Arrays that have no more are one file."""


def is_part(name: str) -> bool:
    """Whether a file of this name holds rows of an array."""
    return Path(name).match(PATTERN)


def _files(shape: tuple[int, ...], dtype: str) -> Iterator[tuple[str, int]]:
    """The name of each file of an array, and its rows."""
    row_bytes = math.prod(shape[1:]) * np.dtype(dtype).itemsize
    if shape[0] * row_bytes <= FILE_BYTES:
        yield WHOLE, shape[0]
        return
    rows = max(1, FILE_BYTES // row_bytes)
    for number, start in enumerate(range(0, shape[0], rows)):
        yield f"array-{number:05d}.npy", min(rows, shape[0] - start)


class Writer:
    """An array on disk that is filled entry by entry, in any order; raises OSError where it cannot be.

    Written rather than mapped: memory stays flat, and a full disk is an error instead of a killed process. One file is
    open at a time, since a process may not have as many as a large array is made of.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._entry = np.empty(shape[2:], dtype)
        self._views = shape[1]
        files = list(_files(shape, dtype))
        self._rows = max(1, files[0][1])
        self._files = [(folder / name, _begin(folder / name, (n, *shape[1:]), dtype)) for name, n in files]
        self._open = 0
        self._file: BinaryIO = self._files[0][0].open("r+b")

    def put(self, row: int, view: int, value: np.ndarray) -> None:
        """value: what stands at [row, view]; of the array's dtype."""
        if value.shape != self._entry.shape or value.dtype != self._entry.dtype:
            raise ValueError(f"{value.dtype} {value.shape}, not {self._entry.dtype} {self._entry.shape}")
        number, row = divmod(row, self._rows)
        path, header_bytes = self._files[number]
        if number != self._open:
            self._file.close()
            self._open, self._file = number, path.open("r+b")
        data = np.ascontiguousarray(value).tobytes()
        start = header_bytes + (row * self._views + view) * self._entry.nbytes
        try:
            while data:  # a disk that is nearly full takes a part, and says why at the next attempt
                written = os.pwrite(self._file.fileno(), data, start)
                data, start = data[written:], start + written
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._file.name) from None

    def close(self) -> None:
        self._file.close()


def _begin(path: Path, shape: tuple[int, ...], dtype: str) -> int:
    """Make a file that has no values yet; returns the bytes of its header."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        return file.tell()


class Array:
    """Several arrays with the same number of rows each, but for the last, which may have fewer, read as one.

    Indexed by rows as numpy's own, or by rows and, parallel to them or for all of them, places on further axes:
    `array[rows]`, `array[rows, 0]`, `array[rows, views]`; rows are several. Raises ValueError where arrays do not fit.
    """

    def __init__(self, parts: list[np.ndarray]) -> None:
        self._parts = parts
        self._rows = len(parts[0])
        self.dtype = parts[0].dtype
        self.shape = (sum(map(len, parts)), *parts[0].shape[1:])
        self._numbers = np.arange(self.shape[0])
        sizes = {len(part) for part in parts[:-1]}
        kinds = {(part.dtype, part.shape[1:]) for part in parts}
        if len(kinds) > 1 or len(sizes) > 1 or len(parts[-1]) > self._rows:
            raise ValueError(f"files that are no array together: {[(str(one.dtype), one.shape) for one in parts]}")

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, *places = index if isinstance(index, tuple) else (index,)
        rows = self._numbers[rows]
        found = None
        for part, here, there in self.by_file(rows):
            own = (one[here] if isinstance(one, np.ndarray) else one for one in places)
            values = part[(there, *own)]
            if found is None:
                found = np.empty((len(rows), *values.shape[1:]), self.dtype)
            found[here] = values
        return np.asarray(found)

    def by_file(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(a file's array, which of `rows` it has, where they are in it), of one file at least."""
        number = rows // self._rows
        for part in np.unique(number) if len(rows) else [0]:
            here = np.flatnonzero(number == part)
            yield self._parts[part], here, rows[here] - part * self._rows


def announce(array: np.ndarray | Array, rows: np.ndarray, views: np.ndarray | int | None = None) -> None:
    """That rows are read next: whole, or of each one place on the second axis. rows, views: (k,), or one for all."""
    parts = array.by_file(rows) if isinstance(array, Array) else [(array, np.arange(len(rows)), rows)]
    for part, here, there in parts:
        if views is None:
            ahead.announce(part, there, part[:1].nbytes)
        else:
            view = views[here] if isinstance(views, np.ndarray) else views
            ahead.announce(part, there * part.shape[1] + view, part[:1, 0].nbytes)


def load(files: Mapping[str, Path]) -> np.ndarray | Array:
    """Memory-mapped, read-only. files: those of an array by their names, as in its folder; others are passed over.

    Raises OSError or ValueError where they are not there, or not an array together.
    """
    parts = [np.load(files[name], mmap_mode="r") for name in sorted(files) if is_part(name)]
    if not parts:
        raise FileNotFoundError(f"no file {WHOLE}")
    return parts[0] if len(parts) == 1 else Array(parts)


def files(folder: Path) -> dict[str, Path]:
    """Those of an array in a folder, by their names."""
    return {file.name: file for file in folder.glob(PATTERN)}
