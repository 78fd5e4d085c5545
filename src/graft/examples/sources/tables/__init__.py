"""Tables of labels as people publish them. To add a kind of file, add a row."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO

from graft.errors import DataError, listing
from graft.examples.sources.tables import delimited, parquet, records
from graft.examples.sources.tables.table import Table

READERS: dict[str, Callable[[IO[bytes], str, bool, Collection[str | int]], Table]] = {
    ".csv": delimited.read,
    ".tsv": delimited.read,
    ".txt": delimited.read,
    ".json": records.read,
    ".jsonl": records.read,
    ".parquet": parquet.read,
}


def read(stream: IO[bytes], file: str, with_header: bool, texts: Collection[str | int] = ()) -> Table:
    """file: its name tells the kind. with_header: whether a text's first line names the columns.

    texts: columns of texts, which are examples themselves. Their cells are "" where they can be left out.

    Raises DataError for a kind that is not known, and for content that is not what the name says.
    """
    reader = READERS.get(Path(file).suffix.lower())
    if reader is None:
        raise DataError(f"data.manifest: a table or list must end in {listing(READERS)}. Got {file!r}; rename it.")
    return reader(stream, file, with_header, texts)
