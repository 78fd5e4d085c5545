"""Reads texts that stand in tables, by the paths that `text_paths` gives them.

Of a parquet a row group at a time is in memory. Other tables cannot be read from the middle: one is read as a whole,
once, and its texts are kept as bytes while they are few enough.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from threading import Lock
from typing import Any

from graft.examples.sources import tables
from graft.examples.sources.tables import parquet, text_paths
from graft.examples.sources.tables.embedded import MOST_BYTES, TablesReader
from graft.examples.sources.tree import Tree
from graft.inputs.text.parts import joined


@dataclass(frozen=True)
class _Texts:
    """Of a table, one behind the other. ends: where each one ends."""

    content: bytes
    ends: Sequence[int]

    def __getitem__(self, row: int) -> bytes:
        return self.content[self.ends[row - 1] if row else 0 : self.ends[row]]


class TextsReader:
    """Reads a tree's files, images in its parquet tables, and texts in tables of any kind."""

    def __init__(self, tree: Tree) -> None:
        self.cheap_to_open, self.waits = tree.cheap_to_open, tree.waits
        self._tree = tree
        self._others = TablesReader(tree)
        self._lock = Lock()
        self._tables: OrderedDict[tuple[str, str], _Texts] = OrderedDict()

    def size(self, path: str) -> int:
        return len(self.read(path)) if text_paths.is_one(path) else self._others.size(path)

    def read(self, path: str) -> bytes:
        """White space around a text is no part of it. Raises OSError, and DataError where a table has changed."""
        if not text_paths.is_one(path):
            return self._others.read(path)
        file, columns, row = text_paths.taken_apart(path)
        if file.lower().endswith(".parquet"):
            return _example([self._others.cell(file, name, row) for name in text_paths.names(columns)])
        try:
            with self._lock:
                return self._table(file, columns)[row]
        except (ValueError, LookupError):
            raise OSError(errno.ENOENT, "no such row or column in the table") from None

    def stamp(self, path: str) -> str | None:
        if not text_paths.is_one(path):
            return self._others.stamp(path)
        file, columns, row = text_paths.taken_apart(path)
        of_table = self._tree.stamp(file)
        return of_table and f"{of_table} {columns} {row}"

    def _table(self, file: str, columns: str) -> _Texts:
        key = (file, columns)
        if key not in self._tables:
            with self._tree.open(file) as stream:
                table = tables.read(stream, file, text_paths.with_header(columns), [columns])
            numbers = text_paths.numbers(columns, table.header)
            examples = [_example([row[number] for number in numbers]) for row in table.rows]
            self._tables[key] = _Texts(b"".join(examples), list(accumulate(map(len, examples))))
            while len(self._tables) > 1 and sum(len(kept.content) for kept in self._tables.values()) > MOST_BYTES:
                self._tables.popitem(last=False)
        self._tables.move_to_end(key)
        return self._tables[key]


def _example(cells: Sequence[Any]) -> bytes:
    """The bytes of one or two cells. A parquet's column of bytes may hold what is not UTF-8, which stays as it is."""
    if len(cells) == 1 and isinstance(cells[0], bytes):
        return cells[0].strip()
    return joined([parquet.cell(one).strip() for one in cells])
