"""The catalogue: every image that the source has, and the state of each.

A CSV with the columns path, sha256, bytes, width, height, label, state, reason, in the source's order.
It knows no split, so that another split leaves its bytes, and all features, as they are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from graft.data.decode import UndecodableError, open_rgb
from graft.data.sources.base import Item, Source
from graft.errors import DataError, StaleError
from graft.progress import track

COLUMNS = ("path", "sha256", "bytes", "width", "height", "label", "state", "reason")
USED = "used"
SET_ASIDE = "set aside"


@dataclass(frozen=True)
class Catalogue:
    """table: a row per image, COLUMNS. width and height are of the upright image, in pixels, 0 if unknown."""

    table: pd.DataFrame

    @property
    def used(self) -> pd.DataFrame:
        """The images that take part, index 0..n-1: row i of every feature array is row i here."""
        return self.table[self.table["state"] == USED].reset_index(drop=True)

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the model's outputs: sorted."""
        return sorted(self.used["label"].unique())

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.table.to_csv(path, index=False, lineterminator="\n")


def read(path: Path) -> Catalogue:
    """Labels and paths stay text, whatever they look like (a class may be called 3, NA or true)."""
    text = {"path": str, "sha256": str, "label": str, "state": str, "reason": str}
    return Catalogue(pd.read_csv(path, dtype=text, keep_default_na=False))


def build(source: Source, root: Path, items: Sequence[Item]) -> Catalogue:
    """Read, hash and fully decode every item, on all cores."""

    def examine(item: Item) -> tuple[object, ...]:
        if item.problem:
            return (item.path, "", 0, 0, 0, item.label, SET_ASIDE, item.problem)
        try:
            data = source.read(root, item.path)
        except OSError as error:
            return (item.path, "", 0, 0, 0, item.label, SET_ASIDE, f"cannot be read: {error.strerror}")
        digest = hashlib.sha256(data).hexdigest()
        try:
            width, height = open_rgb(data).size
        except UndecodableError as reason:
            return (item.path, digest, len(data), 0, 0, item.label, SET_ASIDE, str(reason))
        return (item.path, digest, len(data), width, height, item.label, USED, "")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = list(track(pool.map(examine, items), len(items), "examining"))
    return Catalogue(pd.DataFrame(rows, columns=list(COLUMNS)))


def read_images(source: Source, root: Path, rows: pd.DataFrame) -> Iterator[bytes]:
    """The bytes of the images in `rows`, in order, read ahead on all cores.

    Raises StaleError where a file is gone or its content is not what the catalogue holds.
    """

    def one(entry: tuple[str, str]) -> bytes:
        path, expected = entry
        try:
            data = source.read(root, path)
        except OSError as error:
            raise StaleError(
                f"{root / path}: must be readable, as it was for `prepare`. Got: {error.strerror}. Run `dvc repro`."
            ) from None
        if hashlib.sha256(data).hexdigest() != expected:
            raise StaleError(f"{root / path}: changed since `prepare` catalogued it. Run `dvc repro`.")
        return data

    entries = list(zip(rows["path"], rows["sha256"], strict=True))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(entries), 256):
            yield from pool.map(one, entries[start : start + 256])


def require_trainable(catalogue: Catalogue) -> None:
    """Raises DataError unless at least two classes have images."""
    if len(catalogue.classes) < 2:
        raise DataError(
            "data.path: must hold readable images of at least two classes. "
            f"Got {len(catalogue.used)} images of {catalogue.classes or 'no class'}; "
            f"{len(catalogue.table) - len(catalogue.used)} were set aside."
        )
