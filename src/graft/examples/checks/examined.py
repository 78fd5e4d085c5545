"""What is said of a file: what examining it found, and what that means for the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from graft.runtime.columns import Pieces

V = TypeVar("V")

Judgement = tuple[str, str, str]
"""state, reason, detail"""


@dataclass(frozen=True, slots=True)
class Examined(Generic[V]):
    """verdict: None where the file could not be read, for `error`. n_bytes: of the file, 0 if unknown."""

    sha256: str
    n_bytes: int
    verdict: V | None
    error: str = ""


@dataclass(frozen=True)
class Looks:
    """What examples are compared by. rows: (k,) int64, the numbers of those that can be. values: (k, n) uint8."""

    rows: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, looks: Iterable[bytes]) -> Looks:
        """Of each example as many bytes as of every other, or none where it cannot be compared."""
        pieces = Pieces(looks)
        return cls.held(pieces, np.arange(len(pieces)))

    @classmethod
    def held(cls, looks: Pieces, numbers: np.ndarray) -> Looks:
        """In the memory in which they are. numbers: (n,), which example each is of."""
        rows = numbers[looks.lengths > 0]
        return cls(rows, np.frombuffer(looks.content, np.uint8).reshape(len(rows), -1 if len(rows) else 0))

    def among(self, chosen: np.ndarray) -> Looks:
        """Those of some of the examples. chosen: (n,) bool, by their numbers."""
        kept = chosen[self.rows]
        return self if kept.all() else Looks(self.rows[kept], self.values[kept])
