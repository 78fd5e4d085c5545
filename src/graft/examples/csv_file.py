"""Tables of a catalogue's length, read a part at a time."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa


def batches(path: Path, numbers: Collection[str]) -> Iterator[pa.RecordBatch]:
    """Some rows at a time of a table that pandas wrote. Texts stay as they are, whatever they look like.

    numbers: columns of whole numbers; others are texts.
    """
    import pyarrow.csv

    with path.open(encoding="utf-8", newline="") as file:
        names = next(csv.reader(file), [])
    types = {name: pa.int64() if name in numbers else pa.large_string() for name in names}
    how = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=False)
    lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
    with pyarrow.csv.open_csv(path, convert_options=how, parse_options=lines) as opened:
        yield from opened
