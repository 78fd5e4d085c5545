"""Features on disk: `features.npy`, and `meta.json` that says what made them and of which images.

Row i belongs to the i-th used image of the catalogue.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graft.errors import StaleError

ARRAY = "features.npy"
META = "meta.json"


@dataclass(frozen=True)
class Meta:
    """What made a feature array. Everything that can change a feature is here."""

    backbone: str
    alpha: float | None
    weights: str
    weights_sha256: str
    input_size: int
    resize: str
    interpolation: str
    preprocessing: str
    engine: str
    precision: str
    pooling: str | None
    dtype: str
    shape: tuple[int, ...]
    images_sha256: str

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What one image's features depend on beside its bytes: not the set it is in, nor the weights' name."""
        return {key: value for key, value in asdict(self).items() if key not in ("weights", "shape", "images_sha256")}


@dataclass(frozen=True)
class Features:
    """array: (n, c) or (n, h, w, c), memory-mapped, read-only."""

    array: np.ndarray
    meta: Meta


def images_digest(sha256s: Iterable[str]) -> str:
    """One hash for a list of images: same images in the same order, same hash."""
    return hashlib.sha256("\n".join(sha256s).encode()).hexdigest()


@contextmanager
def create(folder: Path, shape: tuple[int, ...], dtype: str) -> Iterator[np.ndarray]:
    """A memory-mapped array to fill; flushed when done."""
    folder.mkdir(parents=True, exist_ok=True)
    array = np.lib.format.open_memmap(folder / ARRAY, mode="w+", dtype=np.dtype(dtype), shape=shape)
    yield array
    array.flush()


def write_meta(folder: Path, meta: Meta) -> None:
    (folder / META).write_text(json.dumps(asdict(meta), indent=2, sort_keys=True) + "\n")


def load(folder: Path, sha256s: Iterable[str]) -> Features:
    """Open the features of exactly these images. Raises StaleError where they are of others, or not readable."""
    try:
        values = json.loads((folder / META).read_text())
        meta = Meta(**{**values, "shape": tuple(values["shape"])})
        array = np.load(folder / ARRAY, mmap_mode="r")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StaleError(
            f"{folder}: must hold features written by `graft extract`. Got: {error}. Run `dvc repro`."
        ) from None
    if meta.images_sha256 != images_digest(sha256s):
        raise StaleError(f"{folder}: holds the features of other images than the catalogue lists. Run `dvc repro`.")
    if array.shape != meta.shape:
        raise StaleError(f"{folder}: {ARRAY} is {array.shape}, but {META} says {meta.shape}. Run `dvc repro`.")
    return Features(array, meta)
