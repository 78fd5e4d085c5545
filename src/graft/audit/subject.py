"""What is audited: the examples that take part, and the features that `extract` cached of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from graft.convex import ridge
from graft.errors import StaleError
from graft.examples import catalogue, dataset, relabel
from graft.examples.checks import duplicates
from graft.examples.relabel import Decision
from graft.examples.split import UNUSED
from graft.features import store

if TYPE_CHECKING:
    from graft.pipeline.layout import Paths


@dataclass(frozen=True)
class Subject:
    """images: path, sha256, label, split, a row for each used image. classes: their names; targets: (n,) int64 numbers.

    features: (n, d) float32, of the images as they are. scale: as for `ridge.solve`. copies: (n,) int64, the same
    number for copies of one picture, as `prepare` found them. decisions: path -> what was decided already. everything:
    the whole catalogue. kind: of the examples.
    """

    images: pd.DataFrame
    classes: list[str]
    targets: np.ndarray
    features: np.ndarray
    scale: np.ndarray | None
    copies: np.ndarray
    decisions: dict[str, Decision]
    everything: pd.DataFrame
    kind: str

    @property
    def decided(self) -> np.ndarray:
        """(k,) int64: rows of images that have a decision."""
        return np.flatnonzero(self.images["path"].isin(list(self.decisions)))


def read(paths: Paths, decisions: str | None) -> Subject:
    """decisions: the table that params.yaml names, if any.

    Raises StaleError where the files do not belong together, or no feature was stored; DataError for a bad table.
    """
    data = dataset.read(paths.catalogue, paths.split)
    stored = store.load(paths.features, data.sha256s)
    if stored is None:
        raise StaleError(
            f"{paths.features}: must hold features to audit labels by. It holds none, since train.enabled is false. "
            "Set it to true, and run `dvc repro extract`."
        )
    everything = catalogue.read(paths.catalogue)
    kind = catalogue.kind_of(everything.used)
    images = data.used[["path", "sha256", "label"]].assign(split=UNUSED)
    for name, rows in data.sides.rows.items():
        images.loc[rows, "split"] = name
    found = duplicates.read(paths.duplicates)
    group = images["path"].map(dict(zip(found["path"], found["group"], strict=True)))
    copies = group.where(group.notna(), -1.0 - np.arange(len(images))).astype(np.int64)
    widths = stored.meta.output.get("widths")
    return Subject(
        images,
        data.classes,
        data.targets,
        _vectors(stored),
        ridge.by_group(widths) if widths else None,
        copies.to_numpy(),
        relabel.read(decisions, kind)[0] if decisions else {},
        everything.table,
        kind,
    )


def _vectors(stored: store.Stored) -> np.ndarray:
    """(n, d) float32: pooled by their mean where whole maps are stored, a few thousand at a time."""
    found = np.empty((stored.meta.shape[0], stored.meta.shape[-1]), np.float32)
    for rows in np.array_split(np.arange(len(found)), max(1, len(found) // 4096)):
        plain = stored.plain(rows)
        found[rows] = plain if plain.ndim == 2 else plain.mean(axis=(1, 2))
    return found
