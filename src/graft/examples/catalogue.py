"""The catalogue: every file that the source has, and the state of each.

A CSV with COLUMNS, or TEXT_COLUMNS, in the source's order. It knows no split, so that another split leaves its bytes,
and all features, as they are.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from graft.errors import DataError, StaleError, listing
from graft.examples import csv_file
from graft.examples.sources.base import Source
from graft.runtime.columns import Numbers, Texts

MEASURES = {"image": ("width", "height"), "text": ("characters", "words")}
"""data.kind -> how large an example is. To add a kind, add a row."""

ITEMS = {"image": "files", "text": "texts"}
"""data.kind -> what a source has, for messages: a text may be a row of a table."""

BEFORE, BEHIND = ("path", "sha256", "bytes"), ("label", "state", "reason", "detail")
COLUMNS, TEXT_COLUMNS = ((*BEFORE, *MEASURES[kind], *BEHIND) for kind in ("image", "text"))
NOT_COMPUTED = ("bytes", "state", "reason", "detail")
"""Columns that nothing is computed with."""

USED = "used"
"""A state; the others are those of `graft.examples.sources.base`."""


@dataclass(frozen=True)
class Catalogue:
    """table: a row per file, with the columns of its kind. width and height are of the upright image, in pixels;
    characters and words of a text, or of both texts of a pair; 0 if unknown.

    reason and detail: why a file is not used, or what is remarkable about one that is.
    """

    table: pd.DataFrame

    @property
    def used(self) -> pd.DataFrame:
        """The examples that take part, index 0..n-1: row i of every feature array is row i here."""
        return self.table[self.table["state"] == USED].reset_index(drop=True)

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the model's outputs: sorted."""
        return sorted(self.used["label"].unique())

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = [*BEFORE, *MEASURES[kind_of(self.table)], *BEHIND]
        self.table.to_csv(path, index=False, lineterminator="\n", columns=columns)


def kind_of(table: pd.DataFrame) -> str:
    """The kind of the examples of a catalogue's table, or of a part of it: a key of MEASURES. Also their name."""
    return next((kind for kind, measures in MEASURES.items() if set(measures) <= set(table)), "image")


def read(path: Path) -> Catalogue:
    """Labels and paths stay text, whatever they look like (a class may be called 3, NA or true)."""
    text = {name: str for name in (*BEFORE, *BEHIND) if name != "bytes"}
    return Catalogue(pd.read_csv(path, dtype=text, keep_default_na=False))


def used(path: Path) -> pd.DataFrame:
    """The examples that take part, as `Catalogue.used` has them: where they are, how large, and of which class.

    The rest of the catalogue is read past.
    """
    numbers = ("bytes", *itertools.chain(*MEASURES.values()))
    columns: dict[str, Texts | Numbers[int]] = {}
    for batch in csv_file.batches(path, numbers):
        rows = batch.filter(pc.equal(batch["state"], USED))
        for name in (one for one in rows.column_names if one not in NOT_COMPUTED):
            columns.setdefault(name, Numbers("q") if name in numbers else Texts()).add(rows[name])
    return pd.DataFrame({name: column.series() for name, column in columns.items()}, copy=False)


def reader(source: Source, root: Path) -> Callable[[str, str], bytes]:
    """(path, sha256) -> the bytes of an example of the catalogue; several threads may call it.

    It raises StaleError where a file is gone or its content is not what the catalogue holds.
    """
    opened = source.open(root)

    def read(path: str, expected: str) -> bytes:
        try:
            data = opened.read(path)
        except OSError as error:
            raise StaleError(
                f"{root / path}: must be readable, as it was for `prepare`. Got: {error.strerror}. Run `dvc repro`."
            ) from None
        if hashlib.sha256(data).hexdigest() != expected:
            raise StaleError(f"{root / path}: changed since `prepare` catalogued it. Run `dvc repro`.")
        return data

    return read


def require_trainable(catalogue: Catalogue) -> None:
    """Raises DataError unless at least two classes have examples."""
    kind = kind_of(catalogue.table)
    called = f"{kind}s"
    if len(catalogue.classes) < 2:
        below = sorted({path.split("/")[1] for path in catalogue.used["path"] if path.count("/") > 1})
        nested = (
            f" If {listing(below, 4)} below it are the classes, let data.path end in it (unpack an archive for that)."
            if below
            else ""
        )
        unused = catalogue.table.loc[catalogue.table["state"] != USED, "reason"].value_counts().sort_index()
        reasons = listing((f"{reason} ({n})" for reason, n in unused.items()), 6)
        raise DataError(
            f"data.path: must hold readable {called} of at least two classes. "
            f"Got {len(catalogue.used)} {called} of {catalogue.classes or 'no class'}; "
            f"{unused.sum()} {ITEMS[kind]} are not used{': ' if len(unused) else ''}{reasons}. "
            f"quarantine.csv beside the catalogue says more.{nested}"
        )
