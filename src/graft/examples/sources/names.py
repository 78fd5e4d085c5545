"""Which files are examples by their names, of each kind of example. To add a kind, add a row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graft.examples.sources.base import IGNORED, QUARANTINED, Problem
from graft.inputs.image.formats import SUFFIXES


@dataclass(frozen=True)
class Names:
    """suffixes: of files that are examples. others: of files that hold one in a format that graft does not read.

    file: what such a file is called, with its article. remedy: what to make of the others.
    """

    suffixes: tuple[str, ...]
    others: tuple[str, ...]
    file: str
    remedy: str

    def against(self, path: str) -> Problem | None:
        """What a file's name says against it."""
        name = path.lower()
        if name.endswith(self.suffixes):
            return None
        if name.endswith(self.others):
            return Problem(QUARANTINED, "format not read", f"{Path(name).suffix}; {self.remedy}")
        return Problem(IGNORED, f"not the name of {self.file}")


def an(kind: str) -> str:
    """An example's kind with its article, for messages."""
    return f"{'an' if kind == 'image' else 'a'} {kind}"


NAMES: dict[str, Names] = {
    "image": Names(
        SUFFIXES,
        (
            ".heic", ".heif", ".jxl", ".jp2", ".svg", ".psd", ".raw", ".cr2", ".nef", ".dng", ".ico",
            ".tga", ".exr", ".hdr", ".eps", ".pcx", ".pfm", ".pam",
        ),
        "an image file",
        "convert it to PNG or JPEG",
    ),
    "text": Names(
        (".txt",),
        (".pdf", ".doc", ".docx", ".odt", ".rtf", ".html", ".htm", ".epub"),
        "a text file",
        "convert it to plain text in UTF-8, .txt",
    ),
}  # fmt: skip
"""data.kind -> the names of its files."""
