"""What a process that examines images for another does. Nothing here knows Ray."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from graft.cluster import same
from graft.cluster.worker import TRIES, Columns
from graft.errors import DataError, GraftError
from graft.examining.image.examine import Verdict
from graft.examples.checks import looking, verdict_cache
from graft.examples.sources import SOURCES

NUMBER, EXAMINED = "number", "examined"
"""Columns of an answer: the number of a path, and what it is, pickled."""


@dataclass(frozen=True)
class Examination:
    """Work of a cluster whose items are paths and their numbers.

    source, root: what the images are read from. rules: `verdict_cache.rules` of the process that asks.
    """

    source: str
    root: Path
    max_pixels: int
    rules: Mapping[str, str]

    errors: ClassVar[tuple[type[Exception], ...]] = (GraftError,)
    shared: ClassVar[str] = "data.path must lead to the same images on each of them."

    def begin(self) -> Callable[[Sequence[tuple[int, str]]], Columns]:
        same.require(self.rules, verdict_cache.rules())
        reader = SOURCES[self.source].open(self.root)

        def examined(items: Sequence[tuple[int, str]]) -> Columns:
            chunks = looking.chunks(reader, [path for _, path in items])
            found = [
                pickle.dumps(one)
                for some in looking.by_threads(reader, chunks, self.max_pixels, _unknown)
                for one in some
            ]
            return {NUMBER: np.array([number for number, _ in items]), EXAMINED: np.array(found, object)}

        return examined

    def name(self, item: tuple[int, str]) -> str:
        return item[1]

    def died(self, item: tuple[int, str]) -> GraftError:
        return DataError(
            f"{self.root / item[1]}: must be an image that can be examined. Got: {TRIES} processes that died on it, "
            "out of memory or by a fault of a library. Look at it, or take it out of data.path; what else was found is "
            "in graft's cache."
        )


def _unknown(sha256: str) -> Verdict | None:
    """graft's cache is on the machine that asks."""
    return None
