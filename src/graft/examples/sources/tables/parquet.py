"""Parquet tables."""

from __future__ import annotations

import io

import pandas as pd

from graft.errors import DataError
from graft.examples.sources.tables.table import Table


def read(content: bytes, file: str, with_header: bool) -> Table:
    """Whole numbers stay whole where others are missing: Arrow's types, not NumPy's. A parquet always has a header."""
    try:
        table = pd.read_parquet(io.BytesIO(content), dtype_backend="pyarrow")
    except (ValueError, OSError) as error:  # what pyarrow raises for files that are not what they seem
        raise DataError(f"data.manifest.file: {file} must be a parquet table. Got: {error}.") from None
    columns = []
    for name in table.columns:
        values = table[name].tolist()
        if any(isinstance(value, list | dict) for value in values):
            values = [""] * len(values)  # nothing that could be a path, a label or a number
        columns.append(["" if value is None or value is pd.NA or value != value else str(value) for value in values])
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Table(file, [str(name) for name in table.columns], rows, list(range(1, len(rows) + 1)), "row")
