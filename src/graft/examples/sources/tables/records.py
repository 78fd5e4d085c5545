"""JSON: a list of objects or of rows, an object of paths and labels, COCO; and JSON Lines, an object a line."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from graft.errors import DataError
from graft.examples.sources.tables import coco
from graft.examples.sources.tables.table import Table, decoded

PATH, LABEL = "path", "label"
"""What the two columns are called where a file does not name them."""

UNIT = "entry"
"""What rows are counted in; in JSON Lines they are lines."""


def read(stream: IO[bytes], file: str, with_header: bool, texts: Collection[str | int] = ()) -> Table:
    """texts: read all the same, since JSON is read whole.

    Raises DataError for what is no JSON, or none of these. A header there is, unless the rows are lists.
    """
    text = decoded(stream.read(), file)
    if Path(file).suffix.lower() == ".jsonl":
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        entries = [_parsed(line, f"{file}, line {number}") for number, line in lines]
        return records_table(entries, file, [number for number, _ in lines], "line")
    tree = _parsed(text, file)
    if isinstance(tree, dict):
        if coco.is_one(tree):
            return coco.table(tree, file)
        tree = _pairs(tree, file)
    if not isinstance(tree, list):
        raise _other(file, tree)
    return records_table(tree, file, range(1, len(tree) + 1), UNIT)


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: must be JSON. Got: {error}. Correct the file.") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as a dict. Raises ValueError for a key that is there twice, of which JSON readers lose one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{double!r} twice in one object")
    return found


def _pairs(tree: Mapping[str, Any], file: str) -> list[Any]:
    """Entries of an object of path and label, label and paths, or path and object."""
    values = list(tree.values())
    if all(isinstance(value, list) and all(isinstance(path, str) for path in value) for value in values):
        return [{PATH: path, LABEL: label} for label, paths in tree.items() for path in paths]
    if all(isinstance(value, dict) for value in values):
        return [{PATH: path} | value for path, value in tree.items()]
    if any(isinstance(value, list | dict) for value in values):
        raise _other(file, tree)
    return [{PATH: path, LABEL: label} for path, label in tree.items()]


def _other(file: str, tree: Any) -> DataError:
    shown = json.dumps(tree)[:60]
    return DataError(
        f"{file}: must be a list of objects, an object of paths and labels or of labels and lists of paths, or COCO "
        f"(images, annotations, categories). Got {shown}."
    )


def records_table(entries: Sequence[Any], file: str, numbers: Sequence[int], unit: str) -> Table:
    """entries: all of them objects, or all of them lists of one length. numbers: where they stand, in `unit`s."""
    width = len(entries[0]) if entries and isinstance(entries[0], list) else None
    for number, entry in zip(numbers, entries, strict=True):
        alike = isinstance(entry, dict) if width is None else isinstance(entry, list) and len(entry) == width
        if not alike:
            expected = "an object" if width is None else f"a list of {width}"
            raise DataError(
                f"{file}, {unit} {number}: must be {expected}, as the first is. Got {json.dumps(entry)[:60]}. "
                "Correct the file."
            )
    if width is not None:
        return Table(file, None, [[_text(value) for value in entry] for entry in entries], numbers, unit)
    header = list(dict.fromkeys(key for entry in entries for key in entry))
    rows = [[_text(entry.get(key)) for key in header] for entry in entries]
    lists = frozenset(key for entry in entries for key, value in entry.items() if isinstance(value, list))
    return Table(file, header, rows, numbers, unit, lists)


def _text(value: Any) -> str:
    """A cell: truth as JSON writes it; "" for null, and for what could be no path, label or number."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None or isinstance(value, list | dict) else str(value)
