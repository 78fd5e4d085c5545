"""Features on disk: `features.npy`, `boundary.npy` where a cut is given, and `meta.json` that says what made them.

Row i belongs to the i-th used image of the catalogue; on the second axis, 0 is the image as it is, 1 and on its views.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from graft.errors import StaleError

ARRAY = "features.npy"
BOUNDARY = "boundary.npy"
META = "meta.json"
BOUNDARY_DTYPE = "float16"

NOT_OF_ONE_IMAGE = ("weights", "shape", "boundary_shape", "views", "augment", "images_sha256")
"""Of Meta, what the features of one image as it is do not depend on; the weights' bytes count, not their name."""


@dataclass(frozen=True)
class Meta:
    """What made the arrays. Everything that can change a feature is here.

    cut: the layer whose input is in the boundary array. views, augment: how many, and their ranges and seed.
    """

    backbone: str
    alpha: float | None
    weights: str
    weights_sha256: str
    input_size: int
    resize: str
    interpolation: str
    preprocessing: str
    cut: str | None
    engine: str
    precision: str
    pooling: str | None
    dtype: str
    views: int
    augment: dict[str, Any] | None
    shape: tuple[int, ...]
    boundary_shape: tuple[int, ...] | None
    images_sha256: str

    def fingerprint(self, augmented: bool) -> dict[str, Any]:
        """What one image's features depend on beside its bytes; augmented: of a view other than the image as it is."""
        parts = {key: value for key, value in asdict(self).items() if key not in NOT_OF_ONE_IMAGE}
        return parts | {"augment": self.augment if augmented else None}


@dataclass(frozen=True)
class Features:
    """Memory-mapped, read-only. array: (n, 1 + views, c) or (n, 1 + views, h, w, c).

    boundary: (n, 1 + views, h, w, c) float16, or None where no cut was given.
    """

    array: np.ndarray
    boundary: np.ndarray | None
    meta: Meta


def plain(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(len(rows), ...) float32: the images as they are."""
    return np.asarray(array[rows, 0], np.float32)


def drawn(array: np.ndarray, rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """(len(rows), ...) float32: one of 1 + views of each image, drawn for this epoch, whatever batch it is in."""
    return np.asarray(array[rows, _draw(seed, epoch, *array.shape[:2])[rows]], np.float32)


@lru_cache(2)
def _draw(seed: int, epoch: int, n_images: int, n_views: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).integers(0, n_views, n_images)


def images_digest(sha256s: Iterable[str]) -> str:
    """One hash for a list of images: same images in the same order, same hash."""
    return hashlib.sha256("\n".join(sha256s).encode()).hexdigest()


class Writer:
    """An array on disk that is filled entry by entry, in any order; raises OSError where it cannot be.

    Written rather than mapped: memory stays flat, and a full disk is an error instead of a killed process.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._entry = np.empty(shape[2:], dtype)
        self._views = shape[1]
        self._file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._file.flush()
        self._start = self._file.tell()

    def put(self, row: int, view: int, value: np.ndarray) -> None:
        """value: what stands at [row, view]; of the array's dtype."""
        if value.shape != self._entry.shape or value.dtype != self._entry.dtype:
            raise ValueError(f"{value.dtype} {value.shape}, not {self._entry.dtype} {self._entry.shape}")
        data = np.ascontiguousarray(value).tobytes()
        start = self._start + (row * self._views + view) * self._entry.nbytes
        try:
            while data:  # a disk that is nearly full takes a part, and says why at the next attempt
                written = os.pwrite(self._file.fileno(), data, start)
                data, start = data[written:], start + written
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._file.name) from None

    def close(self) -> None:
        self._file.close()


def write_meta(folder: Path, meta: Meta) -> None:
    (folder / META).write_text(json.dumps(asdict(meta), indent=2, sort_keys=True) + "\n")


def _read_meta(folder: Path) -> Meta:
    try:
        values = json.loads((folder / META).read_text())
        shapes = {key: tuple(values[key]) for key in ("shape", "boundary_shape") if values[key] is not None}
        return Meta(**{**values, **shapes})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: Path, error: Exception) -> StaleError:
    return StaleError(f"{folder}: must hold features written by `graft extract`. Got: {error}. Run `dvc repro`.")


def require_made_with(folder: Path, expected: Mapping[str, Any]) -> None:
    """Raise StaleError where `meta.json` says other than `expected`, naming what differs."""
    meta = asdict(_read_meta(folder))
    differing = [
        f"{name} is {meta[name]!r}, but params.yaml says {value!r}"
        for name, value in expected.items()
        if meta[name] != value
    ]
    if differing:
        raise StaleError(f"{folder / META}: must fit params.yaml. {'; '.join(differing)}. Run `dvc repro`.")


def load(folder: Path, sha256s: Iterable[str]) -> Features:
    """Open the features of exactly these images. Raises StaleError where they are of others, or not readable."""
    meta = _read_meta(folder)
    if meta.images_sha256 != images_digest(sha256s):
        raise StaleError(f"{folder}: holds the features of other images than the catalogue lists. Run `dvc repro`.")
    return Features(
        _opened(folder, ARRAY, meta.shape),
        None if meta.boundary_shape is None else _opened(folder, BOUNDARY, meta.boundary_shape),
        meta,
    )


def _opened(folder: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array: np.ndarray = np.load(folder / name, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from None
    if array.shape != shape:
        raise StaleError(f"{folder}: {name} is {array.shape}, but {META} says {shape}. Run `dvc repro`.")
    return array
