"""What a table's columns mean: the rows of a manifest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graft.errors import DataError, listing, unknown
from graft.examples.sources.base import SPLIT_NAMES
from graft.examples.sources.names import an
from graft.examples.sources.tables import text_paths
from graft.examples.sources.tables.table import Table
from graft.runtime.columns import Rows, Texts

if TYPE_CHECKING:
    from graft.config.data import Column, ColumnsParams


@dataclass(frozen=True, slots=True)
class Row:
    """An example as the manifest has it, all of it text; "" for nothing. place: where it stands, for messages."""

    place: str
    path: str
    label: str
    split: str = ""
    group: str = ""
    weight: str = ""


def held(rows: Iterable[Row]) -> Rows[Row]:
    """The rows, of which a million take little memory."""
    return Rows(Row, {"place": Texts(), "path": Texts(), "group": Texts()}, rows)


def rows_of(table: Table, columns: ColumnsParams, kind: str = "image") -> Rows[Row]:
    """kind: of the examples, for messages.

    Raises DataError where a column is not there, or a row has what its column cannot mean.
    """
    path = _paths(table, columns.path) if columns.text is None else _paths_of_texts(table, columns)
    label = _labels(table, columns.label, kind)
    split = _single(table, "split", columns.split)
    group = _single(table, "group", columns.group)
    weight = _single(table, "weight", columns.weight)
    cells = zip(path, label, split, group, weight, strict=True)
    rows = held(Row(table.place(i), *of_row) for i, of_row in enumerate(cells))
    _require(rows, "split", columns.split, _is_split, f"one of {', '.join(SPLIT_NAMES)}")
    _require(rows, "weight", columns.weight, _is_weight, "a number of at least 0")
    return rows


def _place(table: Table, field: str, column: Column) -> int:
    """The number of a column that may be named."""
    where = f"data.manifest.columns.{field}"
    if isinstance(column, int):
        if column >= table.width:
            raise DataError(
                f"{where}: must be below {table.width}, the number of columns of {table.file}, counted from 0. "
                f"Got {column}."
            )
        return column
    header = table.header
    if header is None:
        raise DataError(f"{where}: must be a number from 0, since {table.file} has no header. Got {column!r}.")
    if header.count(column) > 1:
        raise DataError(f"{where}: must be in {table.file} once. Got it {header.count(column)} times.")
    if column not in header:
        hint = " Where the first line is no header, give the columns' numbers, from 0." if table.unit == "line" else ""
        raise DataError(f"{where}: {unknown(column, header)}{hint}")
    return header.index(column)


def _cells(table: Table, field: str, column: Column) -> list[str]:
    place = _place(table, field, column)
    return [row[place].strip() for row in table.rows]


def _single(table: Table, field: str, column: Column | None) -> list[str]:
    return [""] * len(table.rows) if column is None else _cells(table, field, column)


def _paths(table: Table, column: Column | list[Column]) -> list[str]:
    """Of several columns, such as a folder and a file's name, the parts of one path."""
    if not isinstance(column, list):
        return _cells(table, "path", column)
    parts = [_cells(table, "path", one) for one in column]
    return ["/".join(row) for row in zip(*parts, strict=True)]


def _paths_of_texts(table: Table, columns: ColumnsParams) -> list[str]:
    given = {"text": columns.text, "second": columns.second}
    places = {field: _place(table, field, column) for field, column in given.items() if column is not None}
    return text_paths.of(table, places)


def _labels(table: Table, column: Column | list[Column], kind: str) -> list[str]:
    """Of several columns, the one that is set; its place among them where the table has no header.

    Raises DataError where several are set in a row: such data are no classes.
    """
    if not isinstance(column, list):
        name = table.header[_place(table, "label", column)] if table.header else None
        if name in table.with_lists:
            raise DataError(
                f"data.manifest.columns.label: must be a column with one label in each row. {name!r} of {table.file} "
                f"has lists: that is a multi-label data set, and graft tells which one class {an(kind)} is of. Choose "
                "another column."
            )
        return _cells(table, "label", column)
    names = [table.header[_place(table, "label", one)] if table.header else str(k) for k, one in enumerate(column)]
    columns = [_cells(table, "label", one) for one in column]
    chosen = []
    for i, row in enumerate(zip(*columns, strict=True)):
        wrong = next((cell for cell in row if _is_set(cell) is None), None)
        if wrong is not None:
            raise DataError(
                f"{table.place(i)}: {names[row.index(wrong)]} must be 0 or 1, since data.manifest.columns.label lists "
                f"a column for each class. Got {wrong!r}. Correct the file."
            )
        chosen.append([name for name, cell in zip(names, row, strict=True) if _is_set(cell)])
    require_one_label(chosen, table.place, kind)
    return [set_here[0] if set_here else "" for set_here in chosen]


def require_one_label(labels: Sequence[Sequence[str]], place: Callable[[int], str], kind: str = "image") -> None:
    """Raises DataError where a row has several. place: where a row stands, for messages. kind: likewise."""
    several = [i for i, of_row in enumerate(labels) if len(of_row) > 1]
    if several:
        first = several[0]
        raise DataError(
            f"{place(first)}: must have one label, since graft tells which one class {an(kind)} is of. Got "
            f"{listing(labels[first])}; {len(several)} of {len(labels)} {kind}s have several. This is a multi-label "
            f"data set: choose a column that has one class for each {kind}, or leave those {kind}s out."
        )


def _is_set(text: str) -> bool | None:
    """Whether a cell of a class's own column says that the image is of it; None where it says neither."""
    words = {"": False, "false": False, "true": True}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return {0.0: False, 1.0: True}.get(float(text))
    except ValueError:
        return None


def _require(
    rows: Sequence[Row], field: str, column: Column | None, check: Callable[[str], bool], allowed: str
) -> None:
    wrong = [row for row in rows if not check(getattr(row, field))] if column is not None else []
    if wrong:
        more = f" ({len(wrong)} such rows)" if len(wrong) > 1 else ""
        named = column if isinstance(column, str) else f"column {column}, the {field},"
        raise DataError(
            f"{wrong[0].place}: {named} must be {allowed}. "
            f"Got {getattr(wrong[0], field)!r} for {wrong[0].path!r}{more}. Correct the file."
        )


def _is_split(text: str) -> bool:
    return text in SPLIT_NAMES or text == ""


def _is_weight(text: str) -> bool:
    try:
        return text == "" or 0 <= float(text) < math.inf
    except ValueError:
        return False
