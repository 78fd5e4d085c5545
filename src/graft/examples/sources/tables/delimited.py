"""Text tables: fields between commas, semicolons, tabs or, in a .txt, blanks.

Which of them it is, the file itself tells: each line has the same number of fields, more than one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from graft.errors import DataError, listing
from graft.examples.sources.tables.table import Table, decoded

if TYPE_CHECKING:
    from _csv import Reader

DELIMITERS = {".csv": (",", ";", "\t"), ".tsv": ("\t", ",", ";"), ".txt": (",", ";", "\t")}
"""Of each kind of file, the likeliest first. A .txt where none of them fits has blanks."""

BLANK, TAB = " ", "\t"
Parsed = tuple[list[list[str]], list[int]]
"""Rows, and the lines that they stand in."""

MOST_CHARACTERS = 2**31 - 1
"""Of a field: Python's own limit would refuse a whole table for one long text, which `prepare` sets aside."""

COMMENT = "#"
"""How a line of a .txt begins that is none of the table."""


def read(stream: IO[bytes], file: str, with_header: bool, texts: Collection[str | int] = ()) -> Table:
    """with_header: whether the first line names the columns. texts: where there are columns of such, a .txt has no
    comments, for a text may begin like one.

    Raises DataError for text that is not UTF-8, and for a line with more or fewer fields than the first.
    """
    suffix = Path(file).suffix.lower()
    lines = list(io.StringIO(decoded(stream.read(), file), newline=""))
    if suffix == ".txt" and not texts:
        lines = [_without_comment(line) for line in lines]
    rows, numbers = _split(lines, file, suffix)
    if not with_header:
        return Table(file, None, rows, numbers, "line")
    header = [name.strip() for name in rows[0]] if rows else []
    return Table(file, header, rows[1:], numbers[1:], "line")


def _without_comment(line: str) -> str:
    """An empty line in the place of a comment, so that the others keep their numbers."""
    bare = line.strip()
    return "\n" if bare.startswith(COMMENT) else f"{bare}\n"


def _split(lines: Sequence[str], file: str, suffix: str) -> Parsed:
    """Rows and their lines, by the delimiter that makes the most fields of each line.

    More fields are the better sign: a file of semicolons may have a decimal comma in each line.
    """
    likely = sorted(DELIMITERS[suffix], key=lambda delimiter: -_n_fields(lines, delimiter))
    fitting = [delimiter for delimiter in likely if _n_fields(lines, delimiter) > 1]
    if not fitting and suffix == ".txt":
        fitting = [BLANK]
    faults: list[DataError] = []
    for delimiter in fitting or likely[:1]:
        try:
            return _with_tabs(lines, file) if delimiter == TAB else _parsed(lines, file, delimiter)
        except DataError as fault:
            faults.append(fault)
    if fitting == [BLANK] and (parts := _at_last_blank(lines)) is not None:
        return parts
    raise faults[0]


def _with_tabs(lines: Sequence[str], file: str) -> Parsed:
    """Between tabs, a quote at the beginning of a field is often no more than that: where fields in quotes make fewer
    rows than there are lines, or none, and lines alone make a table, they do. Otherwise lines would be lost in a field.
    """
    try:
        bare = _parsed(lines, file, TAB, csv.QUOTE_NONE)
    except DataError:
        return _parsed(lines, file, TAB)
    try:
        quoted = _parsed(lines, file, TAB)
    except DataError:
        return bare
    return quoted if len(quoted[0]) == len(bare[0]) else bare


def _reader(lines: Sequence[str], delimiter: str, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> Reader:
    csv.field_size_limit(MOST_CHARACTERS)
    return csv.reader(iter(lines), delimiter=delimiter, skipinitialspace=True, strict=True, quoting=quoting)


def _n_fields(lines: Sequence[str], delimiter: str) -> int:
    """Of the first line that is not empty."""
    try:
        return next((len(row) for row in _reader(lines, delimiter) if any(row)), 0)
    except csv.Error:
        return lines[0].count(delimiter) + 1


def _parsed(lines: Sequence[str], file: str, delimiter: str, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> Parsed:
    """Rows and the lines they end in, without those in which nothing stands."""
    rows: list[list[str]] = []
    numbers: list[int] = []
    reader = _reader(lines, delimiter, quoting)
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if rows and len(row) != len(rows[0]):
                raise DataError(
                    f"{file}, line {reader.line_num}: must have {len(rows[0])} fields, as the first line has. "
                    f"Got {len(row)}: {listing(row, 6)}. Correct the file; a field with {delimiter!r} in it wants "
                    "double quotes."
                )
            rows.append(row)
            numbers.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: must be a table. Got: {error}. Correct the file.") from None
    return rows, numbers


def _at_last_blank(lines: Sequence[str]) -> Parsed | None:
    """`path label` a line, where paths have blanks of their own; None where a line has no blank."""
    parts = [(line.rsplit(None, 1), number) for number, line in enumerate(lines, start=1) if line.strip()]
    if any(len(pair) != 2 for pair, _ in parts):
        return None
    return [pair for pair, _ in parts], [number for _, number in parts]
