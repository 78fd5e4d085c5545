"""Pixels, read as they are wanted: what a network trained from its input on needs instead of stored activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft import inputs
from graft.examples import catalogue
from graft.examples.sources import SOURCES
from graft.features.store import draw
from graft.inputs.batches import Read, Task, batches
from graft.inputs.spec import InputSpec

if TYPE_CHECKING:
    from graft.examples.dataset import Dataset


@dataclass(frozen=True)
class Pixels:
    """The same examples and views as `extract` has: those of `paths` and `sha256s`, a row each.

    n_views: of each example, itself among them. Arrays are (b, side, side, 3) float32 in [0, 255].
    """

    spec: InputSpec
    read: Read
    paths: Sequence[str]
    sha256s: Sequence[str]
    n_views: int

    def plain(self, rows: np.ndarray) -> np.ndarray:
        """The examples as they are. Raises what `read` raises, and UndecodableError."""
        return self._of(rows, np.zeros(len(rows), np.int64))

    def drawn(self, rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """One view of each, drawn as from stored ones. Raises what `read` raises, and UndecodableError."""
        return self._of(rows, draw(seed, epoch, len(self.paths), self.n_views)[rows])

    def _of(self, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        tasks = [Task(self.paths[row], self.sha256s[row], (int(view),)) for row, view in zip(rows, views, strict=True)]
        _, arrays = next(batches(self.spec, self.read, tasks, len(tasks)))
        return next(iter(arrays.values())).astype(np.float32)


def of(data: Dataset, made_with: Mapping[str, Any], source: str, root: Path) -> Pixels:
    """The pixels of a data set, read and decoded as `extract` does. made_with: of its `meta.json`. root: data.path."""
    read = catalogue.reader(SOURCES[source], root)
    return Pixels(inputs.recorded(made_with), read, list(data.used["path"]), list(data.sha256s), 1 + made_with["views"])
