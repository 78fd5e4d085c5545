"""Parquet tables: their cells as text. Images that lie in the table itself are named, and read later (`embedded`).

Names of classes that Hugging Face's `datasets` put into the file take the place of numbers.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from graft.errors import DataError
from graft.examples.sources.tables import embedded
from graft.examples.sources.tables.table import Table
from graft.inputs.image.formats import SUFFIXES

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FEATURES = b"huggingface"
"""The key of the schema's metadata under which `datasets` keeps what its columns mean, as JSON."""


def read(stream: IO[bytes], file: str, with_header: bool, texts: Collection[str | int] = ()) -> Table:
    """No image is read, and no column of `texts`, by name or number. A parquet always has a header.

    Raises DataError for what is no parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(stream)
        columns = [
            [""] * opened.metadata.num_rows if {field.name, k} & set(texts) else _column(opened, field, file)
            for k, field in enumerate(opened.schema_arrow)
        ]
    except (ValueError, OSError, pa.ArrowException) as error:
        raise DataError(f"data.manifest.file: {file} must be a parquet table. Got: {error}.") from None
    rows = [list(row) for row in zip(*columns, strict=True)]
    lists = frozenset(field.name for field in opened.schema_arrow if pa.types.is_list(field.type))
    return Table(file, opened.schema_arrow.names, rows, range(1, len(rows) + 1), "row", lists)


def _column(opened: pq.ParquetFile, field: pa.Field, file: str) -> list[str]:
    import pyarrow as pa

    n_rows = opened.metadata.num_rows
    if embedded.leaf(field) is not None:
        return embedded.paths(file, field.name, _suffixes(opened, field))
    if pa.types.is_nested(field.type):
        return [""] * n_rows  # nothing that could be a path, a label or a number
    values = opened.read(columns=[field.name]).column(field.name).to_pylist()
    names = _class_names(opened.schema_arrow.metadata, field.name)
    if names is not None and all(value is None or isinstance(value, int) for value in values):
        return [_named(value, names, f"{file}, row {i}: {field.name}") for i, value in enumerate(values, start=1)]
    return [cell(value) for value in values]


def cell(value: Any) -> str:
    """A value as text, "" for nothing and for what is several."""
    return "" if value is None or value != value or isinstance(value, list | dict) else str(value)


def _suffixes(opened: pq.ParquetFile, field: pa.Field) -> list[str]:
    """Of the names that the images had, "" where they had none."""
    import pyarrow as pa

    if not pa.types.is_struct(field.type) or field.type.get_field_index("path") < 0:
        return [""] * opened.metadata.num_rows
    cells = opened.read(columns=[f"{field.name}.path"]).column(field.name).to_pylist()
    found = [Path(str((cell or {}).get("path") or "")).suffix.lower() for cell in cells]
    return [suffix if suffix in SUFFIXES else "" for suffix in found]


def _class_names(metadata: dict[bytes, bytes] | None, column: str) -> list[str] | None:
    """Those of a `ClassLabel`; None for any other column."""
    try:
        features: Any = json.loads((metadata or {})[FEATURES])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _named(value: int | None, names: list[str], where: str) -> str:
    """ "" for no label: null, or -1, as `datasets` writes it."""
    if value is None or value == -1:
        return ""
    if not 0 <= value < len(names):
        raise DataError(f"{where} must be below {len(names)}, the number of class names in the file. Got {value}.")
    return names[value]
