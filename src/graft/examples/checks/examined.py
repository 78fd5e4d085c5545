"""What is said of a file: what examining it found, and what that means for the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

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
