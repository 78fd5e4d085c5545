"""Which examples `extract` would read: those of the catalogue where that stays, an estimate where `prepare` runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graft.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from graft.config.data import DataParams
    from graft.examples.sources.base import Reader

MOST_READ = 20_000
"""New files that are read, so that the cache can be asked for them; of more than that, none is known to it, nor of
those that lie elsewhere."""


@dataclass(frozen=True)
class Examples:
    """sha256s: of the examples whose bytes are known. unread: how many there are beside them.

    exact: whether `extract` will read these very ones. note: where they come from, if not; what stands against them.
    """

    sha256s: tuple[str, ...]
    unread: int = 0
    exact: bool = True
    note: str = ""

    @property
    def n(self) -> int:
        """All of them."""
        return len(self.sha256s) + self.unread


def of_catalogue(file: Path) -> Examples:
    """Those that a catalogue uses, which stays as it is."""
    from graft.examples import catalogue

    return Examples(tuple(catalogue.read(file).used["sha256"]))


def foreseen(data: DataParams, file: Path) -> Examples | None:
    """Those that the next `prepare` is likely to use; None where there is neither data nor a catalogue.

    file: the catalogue of before, if there is one. Of its files those of the same size count as the same.
    """
    from graft.examples import catalogue

    before = catalogue.read(file).table if file.is_file() else None
    try:
        return _of_source(data, before)
    except DataError as error:
        if before is None:
            return None
        used = before[before["state"] == catalogue.USED]
        return Examples(tuple(used["sha256"]), exact=False, note=f"by the last catalogue; prepare may stop: {error}")


def _of_source(data: DataParams, before: pd.DataFrame | None) -> Examples:
    from graft.examples import labels
    from graft.examples.sources import SOURCES
    from graft.examples.sources.base import QUARANTINED

    source = SOURCES[data.source]
    items = [item for item in labels.assign(source.scan(data), data.classes) if item.problem is None]
    reader = source.open(Path(data.path))
    rows = {} if before is None else {row.path: row for row in before.itertuples()}
    known, new = [], []
    for item in items:
        row = rows.get(item.path)
        if row is None or not row.sha256 or row.bytes != _size(reader, item.path):
            new.append(item.path)
        elif row.state != QUARANTINED:
            known.append(str(row.sha256))
    few = len(new) <= MOST_READ and not reader.waits
    read = [] if not few else [sha256 for path in new if (sha256 := _sha256(reader, path))]
    unread = 0 if few else len(new)
    beside = (
        f": {len(new):,} new files beside {len(known):,} of the last catalogue" if rows else f": {len(new):,} files"
    )
    return Examples((*known, *read), unread, False, f"an estimate{beside}, before prepare has looked at them")


def _size(reader: Reader, path: str) -> int | None:
    try:
        return reader.size(path)
    except OSError:
        return None


def _sha256(reader: Reader, path: str) -> str | None:
    """None of a file that cannot be read: it will be set aside."""
    try:
        return hashlib.sha256(reader.read(path)).hexdigest()
    except OSError:
        return None
