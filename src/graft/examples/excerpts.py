"""The beginnings of texts, as they stand in a page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from graft.errors import DataError, StaleError
from graft.examples.sources import SOURCES
from graft.inputs.text.parts import parts

LENGTH = 400
"""Characters that are shown of a text."""


def of(source: str, root: Path, paths: Iterable[str]) -> dict[str, list[str]]:
    """path -> its text, or both texts of a pair, of those that are here and can be read. root: data.path.

    White space is one blank, whatever it was; control characters are written out.
    """
    try:
        reader = SOURCES[source].open(root)
    except DataError:
        return {}
    shown = {}
    for path in paths:
        try:
            shown[path] = [beginning(text) for text in parts(reader.read(path))]
        except (OSError, ValueError, LookupError, DataError, StaleError):  # gone, no UTF-8, or another table now
            continue
    return shown


def beginning(text: str) -> str:
    """At most LENGTH characters, as `of` shows them."""
    flat = " ".join(text[: 4 * LENGTH].split())
    short = flat if len(flat) <= LENGTH and len(text) <= 4 * LENGTH else f"{flat[:LENGTH].rstrip()} …"
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in short)
