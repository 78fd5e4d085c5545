"""Images that lie in a parquet table, as Hugging Face's `datasets` publishes them.

A column of {bytes, path}, or of bytes alone. Each image has a path below the table's own:
`train-00000-of-00002.parquet/image/row-000123.jpg`, from which it is read.
"""

from __future__ import annotations

import errno
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from threading import Lock
from typing import TYPE_CHECKING, Any

from graft.examples.sources.tree import Tree

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BYTES = "bytes"
PATH = re.compile(r"(?P<file>.+\.parquet)/(?P<column>.+)/row-(?P<row>\d+)(\.\w+)?", re.IGNORECASE)

MOST_BYTES = 2**28
"""Of cells that are kept, since the next one is likely in the same row group; the latest group in any case."""


def leaf(field: pa.Field) -> str | None:
    """What pyarrow calls the bytes of a column of images; None for any other column."""
    import pyarrow as pa

    binary = (pa.types.is_binary, pa.types.is_large_binary)
    if any(is_binary(field.type) for is_binary in binary):
        return str(field.name)
    if pa.types.is_struct(field.type) and field.type.get_field_index(BYTES) >= 0:
        inner = field.type.field(BYTES).type
        return f"{field.name}.{BYTES}" if any(is_binary(inner) for is_binary in binary) else None
    return None


def paths(file: str, column: str, suffixes: Sequence[str]) -> list[str]:
    """Of all images of a column, in the order of the rows. suffixes: what each ends in, such as .jpg or ""."""
    digits = max(6, len(str(len(suffixes))))
    return [f"{file}/{column}/row-{row:0{digits}d}{suffix}" for row, suffix in enumerate(suffixes)]


def is_one(path: str) -> bool:
    """Whether a path is that of an image in a table."""
    return PATH.fullmatch(path) is not None


@dataclass(frozen=True)
class _Layout:
    """metadata: of a table. starts: the first row of each of its row groups."""

    metadata: pq.FileMetaData
    starts: list[int]

    def group_of(self, row: int) -> int:
        """Raises IndexError where there is no such row."""
        if row >= self.metadata.num_rows:
            raise IndexError(f"no row {row}")
        return bisect_right(self.starts, row) - 1


class TablesReader:
    """Reads a tree's files, and the cells of its parquet tables, of which a row group at a time is in memory."""

    def __init__(self, tree: Tree) -> None:
        self.cheap_to_open, self.waits = tree.cheap_to_open, tree.waits
        self._tree = tree
        self._lock = Lock()
        self._layouts: dict[str, _Layout] = {}
        self._groups: OrderedDict[tuple[str, str, int], pa.ChunkedArray] = OrderedDict()

    def size(self, path: str) -> int:
        return len(self.read(path)) if is_one(path) else self._tree.size(path)

    def read(self, path: str) -> bytes:
        found = PATH.fullmatch(path)
        if found is None:
            return self._tree.read(path)
        image = self.cell(found["file"], found["column"], int(found["row"]))
        if not isinstance(image, bytes):
            raise OSError(errno.ENOENT, "no image in this row of the table")
        return image

    def stamp(self, path: str) -> str | None:
        found = PATH.fullmatch(path)
        if found is None:
            return self._tree.stamp(path)
        of_table = self._tree.stamp(found["file"])
        return of_table and f"{of_table} {found['column']} {int(found['row'])}"

    def cell(self, file: str, column: str, row: int) -> Any:
        """What stands in a table, an image as its bytes; None for nothing. Raises OSError."""
        import pyarrow as pa

        try:
            with self._lock:
                layout = self._layout(file)
                k = layout.group_of(row)
                return self._group(layout, file, column, k)[row - layout.starts[k]].as_py()
        except (ValueError, LookupError, pa.ArrowException) as error:
            raise OSError(errno.EIO, f"damaged in the table: {' '.join(str(error).split())}") from None

    def _layout(self, file: str) -> _Layout:
        import pyarrow.parquet as pq

        if file not in self._layouts:
            with self._tree.open(file) as stream:
                metadata = pq.ParquetFile(stream).metadata
            sizes = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
            self._layouts[file] = _Layout(metadata, [0, *accumulate(sizes[:-1])])
        return self._layouts[file]

    def _group(self, layout: _Layout, file: str, column: str, k: int) -> pa.ChunkedArray:
        """The images of a row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        key = (file, column, k)
        if key not in self._groups:
            with self._tree.open(file) as stream:
                opened = pq.ParquetFile(stream, metadata=layout.metadata)
                name = leaf(opened.schema_arrow.field(column)) or column
                cells = opened.read_row_group(k, columns=[name]).column(column)
            if pa.types.is_struct(cells.type):
                cells = pa.chunked_array([chunk.field(BYTES) for chunk in cells.chunks], cells.type.field(BYTES).type)
            self._groups[key] = cells
            while len(self._groups) > 1 and sum(kept.nbytes for kept in self._groups.values()) > MOST_BYTES:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]
