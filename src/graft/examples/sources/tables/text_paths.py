"""The paths of texts that stand in a table: `train.csv/question,answer/row-000123.txt`.

A path says all that reading the text again takes: the table, its columns, and the row, counted from 0. A column is
named as the header has it, `@2` where there is no header. What would be ambiguous in a name is written as in an
address of the web, `%2C` for a comma.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from graft.errors import DataError
from graft.examples.sources.tables.table import Table

PATH = re.compile(
    r"(?P<file>.+\.(csv|tsv|txt|json|jsonl|parquet))/(?P<columns>[^/]+)/row-(?P<row>\d{6,})\.txt", re.IGNORECASE
)
NUMBER = "@"
PLAIN = " !#$&'()*+:;=?[]"
"""Characters of a name that stay as they are."""


def of(table: Table, places: Mapping[str, int]) -> list[str]:
    """Of all texts of a table, in the order of its rows. places: field of params.yaml -> number of its column."""
    columns = ",".join(_called(table, field, place) for field, place in places.items())
    digits = max(6, len(str(len(table.rows))))
    return [f"{table.file}/{columns}/row-{row:0{digits}d}.txt" for row in range(len(table.rows))]


def is_one(path: str) -> bool:
    """Whether a path is that of a text in a table."""
    return PATH.fullmatch(path) is not None


def taken_apart(path: str) -> tuple[str, str, int]:
    """Table, columns as `numbers` takes them, row. Raises ValueError for any other path."""
    found = PATH.fullmatch(path)
    if found is None:
        raise ValueError(path)
    return found["file"], found["columns"], int(found["row"])


def with_header(columns: str) -> bool:
    """Whether the columns have names, which stand in the table's first line."""
    return not columns.startswith(NUMBER)


def names(columns: str) -> list[str]:
    """The columns' names. Only where they have some."""
    return [unquote(name) for name in columns.split(",")]


def numbers(columns: str, header: list[str] | None) -> list[int]:
    """The columns' numbers. Raises ValueError where the header lacks one."""
    if not with_header(columns):
        return [int(name.removeprefix(NUMBER)) for name in columns.split(",")]
    return [(header or []).index(name) for name in names(columns)]


def _called(table: Table, field: str, place: int) -> str:
    if table.header is None:
        return f"{NUMBER}{place}"
    name = table.header[place]
    if not name or table.header.count(name) > 1:
        raise DataError(
            f"data.manifest.columns.{field}: must be a column of texts with a name of its own in {table.file}. Got "
            f"column {place}, whose name is {name!r}{', as is that of another' if name else ''}. Correct the header."
        )
    return quote(name, safe=PLAIN)
