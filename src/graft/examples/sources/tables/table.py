"""Rows of text under columns, whatever kind of file they came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graft.errors import DataError


@dataclass(frozen=True)
class Table:
    """file: as a message calls it. header: names of the columns; None where they have none.

    rows: cells as text, each row as long as the header; "" for nothing. numbers: where each row stands in the file,
    counted in `unit` from 1. with_lists: columns whose cells are "" since they are lists in the file.
    """

    file: str
    header: list[str] | None
    rows: list[list[str]]
    numbers: Sequence[int]
    unit: str
    with_lists: frozenset[str] = frozenset()

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.header) if self.header is not None else len(self.rows[0]) if self.rows else 0

    def place(self, row: int) -> str:
        """Where a row stands, for messages. row: its index."""
        return f"{self.file}, {self.unit} {self.numbers[row]}"


def decoded(content: bytes, file: str) -> str:
    """The text of a file. Raises DataError unless it is UTF-8, with or without a byte order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"data.manifest: {file} must be UTF-8 text. Got: {error}. Save it as UTF-8.") from None
