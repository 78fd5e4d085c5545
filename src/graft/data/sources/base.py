"""What every source offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Item:
    """A file or record that a source found.

    path: unique within the source, with forward slashes; `Source.read` takes it.
    label: the class, or "" where none can be told.
    split: the official split it belongs to, or None where the source has none.
    problem: why it is no example, or "".
    """

    path: str
    label: str
    split: SplitName | None = None
    problem: str = ""


@dataclass(frozen=True)
class Source:
    """scan(root) lists every item in a fixed order; read(root, path) gives an image file's bytes.

    Both raise DataError where `data.path` is not what the source expects.
    """

    scan: Callable[[Path], list[Item]]
    read: Callable[[Path, str], bytes]
