"""How predictions are written, row by row. To add a format, add a row to WRITERS."""

from __future__ import annotations

import csv
import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import IO, TYPE_CHECKING, Any

from graft.serving.classifier import answers

if TYPE_CHECKING:
    import numpy as np

    from graft.prediction.stream import Seen

PLACES = 7
"""Decimals of a number in a text: float32 has no more."""


class Writer(AbstractContextManager["Writer"]):
    """Writes a row for each file; at its end everything is in `out`, which stays open."""

    def __init__(self, out: IO[bytes], columns: Columns) -> None:
        self.out, self.columns = out, columns

    @abstractmethod
    def write(self, seen: Seen) -> None: ...

    def close(self) -> None:
        """What is left to write."""

    def __exit__(self, *_: object) -> None:
        self.close()

    def line(self, text: str) -> None:
        self.out.write(f"{text}\n".encode("utf-8", "surrogateescape"))


class Columns:
    """What a row holds beside its path: the likeliest classes, or features.

    classes: in the order of the model's outputs, empty for features. top_k: classes that are named, at most all.
    n_features: 0 for probabilities.
    """

    def __init__(self, classes: Sequence[str], top_k: int = 1, n_features: int = 0) -> None:
        self.classes, self.n_features = list(classes), n_features
        self.top_k = min(max(1, top_k), len(classes))

    def top(self, probabilities: np.ndarray) -> list[tuple[str, float]]:
        """The likeliest first; of equally likely ones, the earlier class."""
        (one,) = answers(self.classes, probabilities[None], self.top_k)
        return list(zip(one["top_labels"], one["top_probabilities"], strict=True))


class Table(Writer):
    """For a person: one line a file, columns that need not know what comes."""

    def __init__(self, out: IO[bytes], columns: Columns) -> None:
        super().__init__(out, columns)
        self.width = min(30, max(map(len, columns.classes), default=0))

    def write(self, seen: Seen) -> None:
        if seen.values is None:
            self.line(f"{'-':>6}  {'':{self.width}}  {seen.path}: {seen.problem}")
            return
        (label, probability), *others = self.columns.top(seen.values)
        more = ", ".join(f"{name} {value:.3f}" for name, value in others)
        self.line(f"{probability:6.4f}  {label:{self.width}}  {seen.path}{f'  ({more})' if more else ''}")


class Csv(Writer):
    def __init__(self, out: IO[bytes], columns: Columns) -> None:
        super().__init__(out, columns)
        self.rows: Any = csv.writer(_Encoded(out), lineterminator="\n")
        named = ["label", "probability"] if columns.classes else []
        named += [f"{what}_{rank}" for rank in range(2, columns.top_k + 1) for what in ("label", "probability")]
        named += [f"feature_{i}" for i in range(columns.n_features)]
        self.width = len(named)
        self.rows.writerow(["path", "problem", *named])

    def write(self, seen: Seen) -> None:
        if seen.values is None:
            values: list[Any] = [""] * self.width
        elif self.columns.classes:
            values = [one for name, value in self.columns.top(seen.values) for one in (name, f"{value:.{PLACES}f}")]
        else:
            values = [f"{value:.{PLACES}g}" for value in seen.values]
        self.rows.writerow([seen.path, seen.problem, *values])


class JsonLines(Writer):
    def write(self, seen: Seen) -> None:
        row: dict[str, Any] = {"path": seen.path}
        if seen.values is None:
            row["problem"] = seen.problem
        elif self.columns.classes:
            labels, values = zip(*self.columns.top(seen.values), strict=True)
            shown = [round(value, PLACES) for value in values]
            row |= {"label": labels[0], "probability": shown[0], "top_labels": labels, "top_probabilities": shown}
        else:
            row["features"] = [float(f"{value:.{PLACES}g}") for value in seen.values]
        self.line(json.dumps(row, ensure_ascii=False))


ROWS = 10_000
"""That parquet holds together."""


class Parquet(Writer):
    def __init__(self, out: IO[bytes], columns: Columns) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        super().__init__(out, columns)
        fields = [("path", pa.string()), ("problem", pa.string())]
        if columns.classes:
            fields += [("label", pa.string()), ("probability", pa.float32())]
            fields += [("top_labels", pa.list_(pa.string())), ("top_probabilities", pa.list_(pa.float32()))]
        else:
            fields += [("features", pa.list_(pa.float32()))]
        self.schema = pa.schema(fields)
        self.file = parquet.ParquetWriter(out, self.schema)
        self.rows: list[dict[str, Any]] = []

    def write(self, seen: Seen) -> None:
        row: dict[str, Any] = {"path": seen.path, "problem": seen.problem or None}
        if seen.values is not None and self.columns.classes:
            labels, values = zip(*self.columns.top(seen.values), strict=True)
            row |= {"label": labels[0], "probability": values[0], "top_labels": labels, "top_probabilities": values}
        elif seen.values is not None:
            row["features"] = seen.values
        self.rows.append(row)
        if len(self.rows) == ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        self.file.write_table(pa.Table.from_pylist(self.rows, self.schema))
        self.rows = []

    def close(self) -> None:
        self._flush()
        self.file.close()


class _Encoded:
    """A text file over one of bytes, as `csv` needs it."""

    def __init__(self, out: IO[bytes]) -> None:
        self.out = out

    def write(self, text: str) -> int:
        return self.out.write(text.encode("utf-8", "surrogateescape"))


WRITERS: dict[str, Callable[[IO[bytes], Columns], Writer]] = {
    "table": Table,
    "csv": Csv,
    "jsonl": JsonLines,
    "parquet": Parquet,
}
"""--format, and the suffix of a file -> what writes it."""
