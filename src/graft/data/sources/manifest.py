"""A table of paths and labels: .csv, .tsv or .parquet, or a list of `path, label` lines for each part of a split.

Images that the manifest does not name are listed as ignored; paths that lead to no file, as missing.
"""

from __future__ import annotations

import io
import math
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from graft.data.sources.base import IGNORED, QUARANTINED, SPLIT_NAMES, Item, Problem, Source, SplitName
from graft.data.sources.folder import named_as_image
from graft.data.sources.tree import Entry, Tree, open_tree
from graft.errors import DataError, unknown

if TYPE_CHECKING:
    from graft.params import ColumnsParams, DataParams


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
        rows = [row for split, file in p.lists.given.items() for row in _list(_read(tree, file).decode(), file, split)]
    by_path: dict[str, list[Row]] = {}
    for row in rows:
        by_path.setdefault(_file_path(p.root, row.path, p.suffix), []).append(row)
    entries = {entry.path: entry for entry in tree.entries()}
    items = [_item(path, same, entries.get(path)) for path, same in by_path.items()]
    if not any(item.problem is None for item in items):
        first = repr(next(iter(by_path))) if by_path else "none"
        raise DataError(
            f"data.manifest: must name image files below data.path, {data.path}. None of its {len(rows)} paths is "
            f"one; the first is {first}. Look at data.manifest.root and data.manifest.suffix."
        )
    named = {p.file, *p.lists.given.values(), *by_path}
    for path, entry in entries.items():
        if path not in named:
            problem = entry.problem or named_as_image(path) or Problem(IGNORED, "not in the manifest")
            items.append(Item(path, "", None, problem))
    return items


def _read(tree: Tree, file: str) -> bytes:
    try:
        return tree.read(file)
    except OSError as error:
        raise DataError(
            f"data.manifest: {file} must be a file below data.path. Got: {error.strerror}. "
            "Paths of the manifest's files are relative to data.path."
        ) from None


def _table(content: bytes, file: str, columns: ColumnsParams) -> list[Row]:
    kind = Path(file).suffix.lower()
    try:
        if kind == ".parquet":
            table = pd.read_parquet(io.BytesIO(content))
        elif kind in (".csv", ".tsv"):
            separator = "," if kind == ".csv" else "\t"
            table = pd.read_csv(io.BytesIO(content), sep=separator, dtype=str, keep_default_na=False)
        else:
            raise DataError(f"data.manifest.file: must end in .csv, .tsv or .parquet. Got {file!r}.")
    except (ValueError, OSError) as error:  # what pandas and pyarrow raise for files that are not what they seem
        raise DataError(f"data.manifest.file: {file} must be a {kind[1:]} table. Got: {error}.") from None
    fields = {field: name for field, name in columns.model_dump().items() if name is not None}
    for field, name in fields.items():
        if name not in table.columns:
            raise DataError(f"data.manifest.columns.{field}: {unknown(name, map(str, table.columns))}")
    texts = {field: ["" if pd.isna(v) else str(v).strip() for v in table[name]] for field, name in fields.items()}
    rows = [Row(**dict(zip(texts, values, strict=True))) for values in zip(*texts.values(), strict=True)]
    for field, allowed, check in (
        ("split", "one of " + ", ".join(SPLIT_NAMES), _is_split),
        ("weight", "a number of at least 0", _is_weight),
    ):
        wrong = [(i, row) for i, row in enumerate(rows) if not check(getattr(row, field))]
        if wrong:
            i, row = wrong[0]
            raise DataError(
                f"{file}, row {i + 2}: {fields[field]} must be {allowed}. Got {getattr(row, field)!r} for {row.path!r}"
                f"{f' ({len(wrong)} such rows)' if len(wrong) > 1 else ''}. Correct the file."
            )
    return rows


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
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        parts = stripped.rsplit(",", 1) if "," in stripped else stripped.rsplit(None, 1)
        if len(parts) < 2 or not all(part.strip() for part in parts):
            raise DataError(f"{file}, line {number}: must be `path, label`. Got {stripped!r}. Correct the file.")
        rows.append(Row(parts[0].strip(), parts[1].strip(), split))
    return rows


def _file_path(root: str, path: str, suffix: str) -> str:
    return posixpath.normpath(posixpath.join(root, path.replace("\\", "/") + suffix))


def _item(path: str, same: list[Row], entry: Entry | None) -> Item:
    """same: the rows that name this path; more than one only where they agree is a repetition."""
    row = same[0]
    split: SplitName | None = SPLIT_NAMES.get(row.split)
    labels = sorted({other.label for other in same})
    problem = None
    if path.startswith(("/", "../")):
        problem = Problem(QUARANTINED, "path leaves the directory")
    elif entry is None:
        problem = Problem(QUARANTINED, "missing file")
    elif entry.problem or named_as_image(path):
        problem = entry.problem or named_as_image(path)
    elif len(labels) > 1:
        problem = Problem(QUARANTINED, "conflicting labels", f"listed as {' and as '.join(labels)}")
    elif len({SPLIT_NAMES.get(other.split) for other in same}) > 1:
        problem = Problem(QUARANTINED, "conflicting splits", "listed in more than one part of the split")
    elif not row.label:
        problem = Problem(QUARANTINED, "no label", "nothing in the label column")
    if problem is not None and problem.state == IGNORED:  # it was asked for by name
        problem = Problem(QUARANTINED, problem.reason, problem.detail)
    return Item(path, row.label, split, problem, row.group, float(row.weight or 1))


SOURCE = Source(scan, open_tree)
