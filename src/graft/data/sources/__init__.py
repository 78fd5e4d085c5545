"""Where images come from. To add a source, add a row; each row is scanned and read the same way."""

from __future__ import annotations

from graft.data.sources import digits, folder
from graft.data.sources.base import Source

SOURCES: dict[str, Source] = {
    "digits": digits.SOURCE,
    "folder": folder.SOURCE,
}
