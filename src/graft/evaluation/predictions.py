"""Per-image predictions: a row per model, split and image.

Columns: model (head, finetuned), split, path, label, prediction, then one probability per class,
named `p:<class>`, float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

TEXTS = ("model", "split", "path", "label", "prediction")

AT_A_TIME = 2**16
"""Rows that are written together; twice as many are held."""


def table(
    model: str,
    split: str,
    paths: Sequence[str],
    labels: Sequence[str],
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> pd.DataFrame:
    """The rows of one model on one split. probabilities: (n, n_classes)."""
    names = np.asarray(classes, dtype=object)
    columns = {
        "model": model,
        "split": split,
        "path": list(paths),
        "label": list(labels),
        "prediction": names[probabilities.argmax(axis=1)],
    }
    scores = pd.DataFrame(probabilities.astype(np.float32), columns=[f"p:{name}" for name in classes])
    return pd.concat([pd.DataFrame(columns), scores], axis=1)


def nothing(classes: Sequence[str]) -> pd.DataFrame:
    """The table of no image; its columns have the types that they have with rows."""
    text = pd.Series([], dtype="str")
    scores = dict.fromkeys((f"p:{name}" for name in classes), pd.Series([], dtype=np.float32))
    return pd.DataFrame(dict.fromkeys(TEXTS, text) | scores)


def write(tables: Iterable[pd.DataFrame], path: Path) -> None:
    """Write tables, one at least, below each other: all of them, or none. Each should have no more than AT_A_TIME
    rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    groups = (pa.Table.from_pandas(group, preserve_index=False) for group in _grouped(tables))
    first = next(groups)
    try:
        with parquet.ParquetWriter(partial, first.schema) as file:
            for group in chain([first], groups):
                file.write_table(group)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _grouped(tables: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The same rows in tables of AT_A_TIME or more, but for the last."""
    pending: list[pd.DataFrame] = []
    for table in tables:
        pending.append(table)
        if sum(map(len, pending)) >= AT_A_TIME:
            yield pd.concat(pending, ignore_index=True)
            pending = []
    if pending:
        yield pd.concat(pending, ignore_index=True)
