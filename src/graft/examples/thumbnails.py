"""Small pictures of examples, as text that stands in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from graft.errors import DataError, StaleError
from graft.examples.sources import SOURCES
from graft.examples.sources.base import Reader
from graft.inputs.image.decode import open_rgb
from graft.inputs.spec import UndecodableError
from graft.runtime.cores import available

SIDE = 96
"""Pixels of the longer side."""


class Readable(Protocol):
    """What gives the bytes of an image: a source's reader."""

    def read(self, path: str) -> bytes:
        """Raises OSError, ValueError or LookupError where there is no such image."""


def of(source: str, root: Path, paths: Iterable[str], side: int = SIDE) -> dict[str, str]:
    """As `thumbnails`, of a source's images. root: data.path."""
    return thumbnails(_reader(source, root), paths, side)


def thumbnails(reader: Readable | None, paths: Iterable[str], side: int) -> dict[str, str]:
    """path -> JPEG in base64, of those that are here and can be decoded; no side is longer than `side` pixels.

    reader: None where none of the images is here.
    """

    def one(path: str) -> tuple[str, str]:
        try:
            image = open_rgb(reader.read(path), at_least=side) if reader else None
        except (OSError, ValueError, LookupError, UndecodableError, DataError, StaleError):
            image = None
        if image is None:
            return path, ""
        if max(image.size) < side // 2:  # pixels of tiny images stay visible
            factor = side // max(image.size)
            image = image.resize((image.width * factor, image.height * factor), 0)
        image.thumbnail((side, side))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=80)
        return path, base64.b64encode(out.getvalue()).decode()

    with ThreadPoolExecutor(available()) as pool:
        return {path: text for path, text in pool.map(one, paths) if text}


def _reader(source: str, root: Path) -> Reader | None:
    try:
        return SOURCES[source].open(root)
    except DataError:
        return None
