"""Texts that the user named: files, rows of tables, and lines on standard input."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

from graft.errors import DataError, listing, unknown
from graft.examining.text.limits import most_bytes
from graft.examples.sources import tables
from graft.examples.sources.base import plain
from graft.examples.sources.names import NAMES
from graft.examples.sources.tables import text_paths
from graft.examples.sources.tables.table import Table
from graft.examples.sources.tables.texts import TextsReader
from graft.examples.sources.tree import Directory
from graft.inputs.spec import UndecodableError
from graft.inputs.text.parts import SEPARATOR
from graft.prediction.files import STDIN, Kind, Named

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")

BETWEEN = b"\t"
"""Between the two texts of a pair on standard input."""


def kind(pair: bool, text: str | None = None, second: str | None = None) -> Kind:
    """pair: whether the model reads pairs. text, second: columns of tables, None where none was named.

    Raises DataError where the columns are not those that the model reads.
    """
    if text is None and second is not None:
        raise DataError(f"--second: stands beside --text, which names the first column. Got {second!r} alone.")
    if text is not None and pair != (second is not None):
        if pair:
            raise DataError("--second: must name a column, since the model is one on pairs of texts. Got nothing.")
        raise DataError(f"--second: must be left out, since the model is one on single texts. Got {second!r}.")
    names = NAMES["text"]
    columns = {"text": text, "second": second}
    wanted = {option: column for option, column in columns.items() if column is not None}
    return Kind(
        _require_start,
        most_bytes(pair),
        names.suffixes,
        names.against,
        partial(_lines, pair=pair),
        partial(_table, columns=wanted),
    )


def _require_start(head: bytes) -> None:
    """Any bytes may begin a text, but there must be some."""
    if not head:
        raise UndecodableError("empty file", "0 bytes")


def _lines(stdin: IO[bytes], kind: Kind, pair: bool) -> Iterator[Named]:
    """A text a line; of a pair both, with a tab between them."""
    for number, line in enumerate(stdin, start=1):
        data = line.removesuffix(b"\n").removesuffix(b"\r")
        if pair:
            data = data.replace(BETWEEN, SEPARATOR.encode(), 1)
        yield Named(f"{STDIN}:{number}", partial(bytes, data))


def _table(path: Path, columns: dict[str, str]) -> Iterator[Named] | None:
    """A text a row. columns: option -> column. Raises DataError where a table is named, and no column."""
    if path.suffix.lower() not in TABLES:
        return None
    if not columns:
        raise DataError(f"--text: must name the column of {path} that has the texts, since it is a table. Got nothing.")
    return _rows(path, columns)


def _rows(path: Path, columns: dict[str, str]) -> Iterator[Named]:
    """By the reader that `prepare` has, and by the names that it gives them. Raises DataError for no such column."""
    try:
        with path.open("rb") as stream:
            table = tables.read(stream, path.name, with_header=True)
    except OSError as error:
        yield Named(plain(str(path)), bytes, f"cannot be read: {error.strerror or error}")
        return
    except DataError as error:
        yield Named(
            plain(str(path)), bytes, str(error).removeprefix("data.manifest.file: ").removeprefix("data.manifest: ")
        )
        return
    places = {option: _place(table, option, column) for option, column in columns.items()}
    reader = TextsReader(Directory(path.parent))
    for inside in text_paths.of(table, places):
        yield Named(plain(str(path.parent / inside)), partial(reader.read, inside))


def _place(table: Table, option: str, column: str) -> int:
    """The number of a column. Raises DataError where its name is not that of one."""
    header = table.header or []
    if header.count(column) > 1:
        raise DataError(f"--{option}: must be the name of one column of {table.file}. Got {column!r}, of several.")
    if column not in header:
        raise DataError(f"--{option}: {unknown(column, header)} ({table.file} has {listing(header)}.)")
    return header.index(column)
