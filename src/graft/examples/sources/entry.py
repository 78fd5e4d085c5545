"""A file in a tree of files, whatever the tree lies in; and which of them are nobody's examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from graft.examples.sources.base import QUARANTINED, Problem, plain
from graft.runtime.columns import Rows, Texts

UNUSABLE = Problem(QUARANTINED, "unusable name", "control characters, or bytes that are not UTF-8")
OF_SYSTEMS = {"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"}
"""Folders that archivers, network disks and systems make; what is in them is nobody's image."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or what stands in the place of one. path: relative, with forward slashes; quoted where unusable."""

    path: str
    problem: Problem | None = None


def held(entries: Iterable[Entry]) -> Sequence[Entry]:
    """The entries, of which a million take little memory."""
    return Rows(Entry, {"path": Texts()}, entries)


def named(path: str, problem: Problem | None) -> Entry:
    """The entry of a file that may have an unusable name."""
    shown = plain(path)
    return Entry(path, problem) if shown == path else Entry(shown, UNUSABLE)


def hidden(path: str) -> bool:
    """Whether a file or one of the folders above it is hidden, or a system's."""
    return any(part in OF_SYSTEMS or (part.startswith(".") and part not in (".", "..")) for part in path.split("/"))
