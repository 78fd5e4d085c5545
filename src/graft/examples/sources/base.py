"""What every source offers."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from graft.runtime.columns import Numbers, Rows, Texts

if TYPE_CHECKING:
    from graft.config.data import DataParams

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

SPLIT_NAMES: dict[str, SplitName] = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
}
"""How directories and manifests call the parts of an official split."""

UNWRITABLE = {"Cc", "Cs"}
"""Unicode categories: control characters, and what stands for bytes that are not UTF-8."""

IGNORED = "ignored"
QUARANTINED = "quarantined"
LEFT_OUT = "left out"


def plain(text: str) -> str:
    """The text itself, or in quotes with escapes where it has control characters or bytes that are not UTF-8.

    Such text does not survive a CSV or cannot be written at all.
    """
    odd = not text.isprintable() and any(unicodedata.category(character) in UNWRITABLE for character in text)
    return repr(text) if odd else text


@dataclass(frozen=True)
class Problem:
    """Why an item is no example.

    state: IGNORED for what was never meant to be one, QUARANTINED for a defect, LEFT_OUT by the user's choice.
    reason: a few words, the same for all items of a kind. detail: what is special to this one, or "".
    """

    state: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """A file or record that a source found.

    path: unique within the source, with forward slashes; `Reader.read` takes it where there is no problem.
    label: the class, or "" where none can be told.
    split: the official split it belongs to, or None where the source has none.
    group: items of a group stay on one side of the split; "" for none.
    weight: of its training loss, at least 0.
    """

    path: str
    label: str
    split: SplitName | None = None
    problem: Problem | None = None
    group: str = ""
    weight: float = 1.0


Items = Rows[Item]
"""Items, of which a million take little memory."""


def listed(items: Iterable[Item]) -> Items:
    return Rows(Item, {"path": Texts(), "group": Texts(), "weight": Numbers("d")}, items)


class Reader(Protocol):
    """Gives items' bytes.

    cheap_to_open: whether another process may open its own. waits: whether reading waits for a network rather than for
    this machine, so that many threads should read at a time.
    """

    cheap_to_open: bool
    waits: bool

    def size(self, path: str) -> int:
        """Bytes of the file. Raises OSError."""

    def read(self, path: str) -> bytes:
        """An example's bytes. Raises OSError."""

    def stamp(self, path: str) -> str | None:
        """A text that changes when the file may have changed, without reading it; None where there is none."""


@dataclass(frozen=True)
class Source:
    """scan(data) lists every item in a fixed order; open(path) gives a reader of the same items.

    Both raise DataError where `data.path` is not what the source expects. What `scan` takes from
    other values of `data` is in the items' paths, so that reading depends on `data.path` alone.
    """

    scan: Callable[[DataParams], Items]
    open: Callable[[Path], Reader]
