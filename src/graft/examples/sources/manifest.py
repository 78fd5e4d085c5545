"""A table of paths and labels: .csv, .tsv or .parquet, or a list of `path, label` lines for each part of a split.

Images that the manifest does not name are listed as ignored; paths that lead to no file, as missing.
"""

from __future__ import annotations

import csv
import io
import math
import posixpath
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from graft.errors import DataError, listing, unknown
from graft.examples.sources.base import IGNORED, QUARANTINED, SPLIT_NAMES, Item, Problem, Source, SplitName, plain
from graft.examples.sources.folder import named_as_image
from graft.examples.sources.tree import Entry, Tree, open_tree
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.config.schema import ColumnsParams, DataParams


@dataclass(frozen=True)
class Row:
    """A line of the manifest, as its file has it."""

    path: str
    label: str
    split: str = ""
    group: str = ""
    weight: str = ""


def scan(data: DataParams) -> list[Item]:
    """Items in the manifest's order, then the files that it does not name."""
    tree, p = open_tree(Path(data.path)), data.manifest
    if p.file is not None:
        rows = _table(_read(tree, p.file), p.file, p.columns)
    else:
        rows = [
            row for split, file in p.lists.given.items() for row in _list(_text(_read(tree, file), file), file, split)
        ]
    by_path: dict[str, list[Row]] = {}
    for row in _whole_numbers(rows):
        by_path.setdefault(_file_path(Path(data.path), p.root, row.path, p.suffix), []).append(row)
    entries = {entry.path: entry for entry in tree.entries()}
    by_path = _as_files_are_called(by_path, entries)
    items = [_item(path, same, entries.get(path)) for path, same in by_path.items()]
    if not any(item.problem is None for item in items):
        first = repr(next(iter(by_path))) if by_path else "none"
        raise DataError(
            f"data.manifest: must name image files below data.path, {data.path}. None of its {len(rows)} paths is "
            f"one; the first is {first}. Look at data.manifest.root and data.manifest.suffix."
        )
    named = {p.file, *p.lists.given.values(), *by_path}
    for path in entries:
        if path not in named:
            items.append(Item(path, "", None, Problem(IGNORED, "not in the manifest")))
    return items


def _whole_numbers(rows: list[Row]) -> list[Row]:
    """Labels that are whole numbers, some of them as `1.0`: a table's writer knew no other kind of number."""
    labels = {row.label for row in rows if row.label}
    if not all(re.fullmatch(r"-?\d+(\.0+)?", label) for label in labels) or not any("." in label for label in labels):
        return rows
    say(f"note: labels are whole numbers, and some are written like {min(x for x in labels if '.' in x)}: 1.0 is 1")
    return [replace(row, label=row.label.partition(".")[0]) for row in rows]


def _read(tree: Tree, file: str) -> bytes:
    try:
        return tree.read(file)
    except OSError as error:
        raise DataError(
            f"data.manifest: {file} must be a file below data.path. Got: {error.strerror}. "
            "Paths of the manifest's files are relative to data.path."
        ) from None


def _text(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"data.manifest: {file} must be UTF-8 text. Got: {error}. Save it as UTF-8.") from None


def _table(content: bytes, file: str, columns: ColumnsParams) -> list[Row]:
    kind = Path(file).suffix.lower()
    if kind == ".parquet":
        header, cells = _parquet(content, file)
    elif kind in (".csv", ".tsv"):
        header, cells = _csv(_text(content, file), file, "," if kind == ".csv" else "\t")
    else:
        raise DataError(f"data.manifest.file: must end in .csv, .tsv or .parquet. Got {file!r}.")
    fields = {field: name for field, name in columns.model_dump().items() if name is not None}
    for field, name in fields.items():
        if header.count(name) != 1:
            wrong = f"must be in {file} once. Got it {header.count(name)} times." if name in header else None
            raise DataError(f"data.manifest.columns.{field}: {wrong or unknown(name, header)}")
    places = {field: header.index(name) for field, name in fields.items()}
    rows = [Row(**{field: line[place].strip() for field, place in places.items()}) for line in cells]
    for field, allowed, check in (
        ("split", f"one of {', '.join(SPLIT_NAMES)}", _is_split),
        ("weight", "a number of at least 0", _is_weight),
    ):
        wrong_rows = [(i, row) for i, row in enumerate(rows) if not check(getattr(row, field))]
        if wrong_rows:
            i, row = wrong_rows[0]
            more = f" ({len(wrong_rows)} such rows)" if len(wrong_rows) > 1 else ""
            raise DataError(
                f"{file}, row {i + 2}: {fields[field]} must be {allowed}. "
                f"Got {getattr(row, field)!r} for {row.path!r}{more}. Correct the file."
            )
    return rows


def _csv(text: str, file: str, separator: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows, each as long as the header."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        rows = []
        for row in reader:
            if len(row) != len(header) and row:
                raise DataError(
                    f"{file}, line {reader.line_num}: must have {len(header)} fields, as the header has. "
                    f"Got {len(row)}: {listing(row, 6)}. Correct the file."
                )
            if row:
                rows.append(row)
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: must be a table. Got: {error}. Correct the file.") from None
    return header, rows


def _parquet(content: bytes, file: str) -> tuple[list[str], list[list[str]]]:
    """Whole numbers stay whole where others are missing: Arrow's types, not NumPy's."""
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
    return [str(name) for name in table.columns], [list(row) for row in zip(*columns, strict=True)]


def _is_split(text: str) -> bool:
    return text in SPLIT_NAMES or text == ""


def _is_weight(text: str) -> bool:
    try:
        return text == "" or 0 <= float(text) < math.inf
    except ValueError:
        return False


def _list(text: str, file: str, split: str) -> list[Row]:
    """`path, label` a line; without a comma, the last blank is between them."""
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        parts = stripped.rsplit(",", 1) if "," in stripped else stripped.rsplit(None, 1)
        if len(parts) < 2 or not all(part.strip() for part in parts):
            raise DataError(f"{file}, line {number}: must be `path, label`. Got {stripped!r}. Correct the file.")
        rows.append(Row(parts[0].strip(), parts[1].strip(), split))
    return rows


def _file_path(data: Path, root: str, path: str, suffix: str) -> str:
    """Below data.path; an absolute path that leads there too, as the machine that wrote the manifest had it."""
    path = path.replace("\\", "/") + suffix
    for above in (data.absolute(), data.resolve()):
        if path.startswith(f"{above.as_posix()}/"):
            return posixpath.normpath(path.removeprefix(f"{above.as_posix()}/"))
    return posixpath.normpath(posixpath.join(root, path))


def _as_files_are_called(rows: dict[str, list[Row]], entries: Mapping[str, Entry]) -> dict[str, list[Row]]:
    """The same rows by the names that files have: é is one character to most systems, e and an accent to a Mac."""
    composed: dict[str, list[str]] = {}
    for path in entries:
        composed.setdefault(unicodedata.normalize("NFC", path), []).append(path)
    found: dict[str, list[Row]] = {}
    for path, same in rows.items():
        alike = composed.get(unicodedata.normalize("NFC", path), [])
        found.setdefault(alike[0] if path not in entries and len(alike) == 1 else path, []).extend(same)
    return found


def _item(path: str, same: list[Row], entry: Entry | None) -> Item:
    """same: the rows that name this path; they must agree."""
    row = same[0]
    split: SplitName | None = SPLIT_NAMES.get(row.split)
    labels = sorted({other.label for other in same})
    problem = entry.problem or named_as_image(path) if entry is not None else Problem(QUARANTINED, "missing file")
    if path.startswith(("/", "../")):
        problem = Problem(QUARANTINED, "path leaves the directory")
    elif problem is not None:  # it was asked for by name
        problem = Problem(QUARANTINED, problem.reason, problem.detail)
    elif len(labels) > 1:
        problem = Problem(QUARANTINED, "conflicting labels", f"listed as {' and as '.join(labels)}")
    elif len({SPLIT_NAMES.get(other.split) for other in same}) > 1:
        problem = Problem(QUARANTINED, "conflicting splits", "listed in more than one part of the split")
    elif len({(other.group, float(other.weight or 1)) for other in same}) > 1:
        problem = Problem(QUARANTINED, "conflicting rows", "listed with more than one group or weight")
    elif not row.label:
        problem = Problem(QUARANTINED, "no label", "nothing in the label column")
    elif plain(row.label) != row.label or plain(row.group) != row.group:
        problem = Problem(QUARANTINED, "unusable label", "control characters in the label or group")
    return Item(plain(path), plain(row.label), split, problem, plain(row.group), float(row.weight or 1))


SOURCE = Source(scan, open_tree)
