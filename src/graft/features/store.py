"""What `extract` writes: an array (`arrays`) and `meta.json`, which says what made it; a folder for each output.

Row i belongs to the i-th used example of the catalogue; on the second axis, 0 is the example as it is, 1 and on its
views. `meta.json` is removed first and written last: without it, or with another's, an array is not read. Where nothing
need be stored, it says why, and what the array would be of.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from graft.errors import StaleError
from graft.features import arrays

ARRAY = arrays.WHOLE
META = "meta.json"
SAMPLE = "sample.npy"
"""Beside the features: what the network reads of the first examples, so that `finetune` can compare the model that it
ships with what was computed, wherever the features go, and where the examples themselves are not.
"""


@dataclass(frozen=True)
class Meta:
    """What made an array.

    made_with: everything that can change a value, but the code and the libraries: the network, its weights, the input,
        the views, the engine. output: what is special to this output (pooling; the cut). shape: (n, 1 + views, ...).
    examples_sha256: `examples_digest` of the rows.
    """

    made_with: dict[str, Any]
    output: dict[str, Any]
    shape: tuple[int, ...]
    dtype: str
    examples_sha256: str


class Views(Protocol):
    """Examples and their views as a network reads them. rows: of the used examples, (b,)."""

    def plain(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows), ...) float32: the examples as they are."""

    def drawn(self, rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """(len(rows), ...) float32: one of 1 + views of each, drawn for this epoch, whatever batch it is in."""


@dataclass(frozen=True)
class Stored:
    """Memory-mapped, read-only. array: (n, 1 + views, c) or (n, 1 + views, h, w, c)."""

    array: np.ndarray | arrays.Array
    meta: Meta

    def plain(self, rows: np.ndarray) -> np.ndarray:
        return self._read(rows, 0)

    def drawn(self, rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        return self._read(rows, draw(seed, epoch, *self.array.shape[:2])[rows])

    def every(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows), 1 + views, ...) float32: all views of each."""
        arrays.announce(self.array, rows)
        return np.asarray(self.array[rows], np.float32)

    def _read(self, rows: np.ndarray, views: np.ndarray | int) -> np.ndarray:
        arrays.announce(self.array, rows, views)
        return np.asarray(self.array[rows, views], np.float32)


@lru_cache(2)
def draw(seed: int, epoch: int, n_examples: int, n_views: int) -> np.ndarray:
    """(n_examples,) int64 from 0 to n_views - 1: the view of each example in an epoch."""
    return np.random.default_rng([seed, epoch]).integers(0, n_views, n_examples)


def examples_digest(sha256s: Iterable[str]) -> str:
    """One hash for a list of examples: same ones in the same order, same hash."""
    digest = hashlib.sha256()
    for number, sha256 in enumerate(sha256s):
        digest.update(f"\n{sha256}".encode() if number else sha256.encode())
    return digest.hexdigest()


def begin(folder: Path) -> None:
    """Empty an output's folder, `meta.json` first: what is there from now on is not whole until `write_meta`."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (folder / META, *arrays.files(folder).values()):
        file.unlink(missing_ok=True)


def write_meta(folder: Path, meta: Meta) -> None:
    """The last step: the array is whole."""
    _write(folder, {"stored": True, **asdict(meta)})


def write_none(folder: Path, meta: Meta, reason: str) -> None:
    """Instead of an array, the reason why there is none, and what it would be of."""
    begin(folder)
    _write(folder, {"stored": False, "reason": reason, **asdict(meta)})


def _write(folder: Path, values: Mapping[str, Any]) -> None:
    partial = folder / f".{META}"
    partial.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    os.replace(partial, folder / META)


def write_sample(folder: Path, inputs: np.ndarray) -> None:
    """inputs: (n, ...), of the first n rows as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{SAMPLE}"
    with partial.open("wb") as file:
        np.save(file, inputs, allow_pickle=False)
    os.replace(partial, folder / SAMPLE)


def read_sample(folder: Path) -> np.ndarray:
    """(n, ...) float32, as the network reads them. Raises StaleError where they are missing or not readable."""
    try:
        inputs: np.ndarray = np.load(folder / SAMPLE, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from None
    return inputs.astype(np.float32)


def read_meta(folder: Path) -> tuple[Meta, bool]:
    """What the array is of, and whether there is one. Raises StaleError where that is missing or not readable."""
    try:
        values = json.loads((folder / META).read_text())
        stored = bool(values.pop("stored"))
        values.pop("reason", None)
        return Meta(**{**values, "shape": tuple(values["shape"])}), stored
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: Path, error: Exception) -> StaleError:
    return StaleError(f"{folder}: must hold what `graft extract` writes. Got: {error}. Run `dvc repro`.")


def load(folder: Path, sha256s: Iterable[str]) -> Stored | None:
    """Open the array of exactly these examples; None where `meta.json` says that nothing is stored.

    Raises StaleError where it is of others, or not readable.
    """
    meta, stored = read_meta(folder)
    if not stored:
        return None
    if meta.examples_sha256 != examples_digest(sha256s):
        raise StaleError(f"{folder}: belongs to other examples than the catalogue lists. Run `dvc repro`.")
    return _opened(folder, meta)


def opened(folder: Path, meta: Meta) -> Stored:
    """The array that another process has opened, known by its `meta`. Raises StaleError where another one is here."""
    found, stored = read_meta(folder)
    if not stored or found != meta:
        raise StaleError(f"{folder}: must be the array that was opened where graft was started. Got another one.")
    return _opened(folder, meta)


def _opened(folder: Path, meta: Meta) -> Stored:
    try:
        array = arrays.load(arrays.files(folder))
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from None
    if (array.shape, str(array.dtype)) != (meta.shape, meta.dtype):
        found = f"{array.dtype} {array.shape}, but {META} says {meta.dtype} {meta.shape}"
        raise StaleError(f"{folder}: the array is {found}. Run `dvc repro`.")
    return Stored(array, meta)


def require(folder: Path, sha256s: Iterable[str]) -> Stored:
    """As `load`. Raises StaleError where nothing is stored, too."""
    stored = load(folder, sha256s)
    if stored is None:
        raise StaleError(f"{folder}: holds nothing, as its {META} says. Run `dvc repro`.")
    return stored
