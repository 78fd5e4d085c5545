"""A table of paths and labels, or one for each part of a split.

Files that the manifest does not name are listed as ignored; paths that lead to no file, as missing. Where
`columns.text` is given, the texts stand in the table itself: each row has a path of its own (`tables.text_paths`).
A tar in WebDataset's layout is a table, too (`tables.shards`).
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import compress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from graft.errors import DataError
from graft.examples.sources import tables
from graft.examples.sources.base import (
    IGNORED,
    QUARANTINED,
    SPLIT_NAMES,
    Item,
    Items,
    Problem,
    Source,
    SplitName,
    listed,
    plain,
)
from graft.examples.sources.listed import Listed
from graft.examples.sources.names import NAMES, Names
from graft.examples.sources.tables import class_names, embedded, shards, text_paths
from graft.examples.sources.tables.columns import Row, held, rows_of
from graft.examples.sources.tables.shards import Shards, is_shard
from graft.examples.sources.tables.texts import TextsReader
from graft.examples.sources.tree import Tree, open_tree
from graft.runtime.columns import Rows
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.config.data import DataParams, ManifestParams

NOT_NAMED = Problem(IGNORED, "not in the manifest")


def scan(data: DataParams) -> Items:
    """Items in the manifest's order, then the files that it does not name."""
    p, names = data.manifest, NAMES[data.kind]
    lying = open_tree(Path(data.path), names.suffixes if p.columns.text is None else None)
    tree = Shards(lying)
    entries = {entry.path: entry.problem for entry in tree.entries()}
    files = _files(p, list(entries))
    tree.learn(file for file, _ in files if is_shard(file))
    rows = _whole_numbers(held(row for file, split in files for row in _rows(tree, file, split, data)))
    if p.classes is not None:
        with _open(tree, p.classes) as stream:
            classes = class_names.read(stream.read(), p.classes)
        rows = class_names.apply(classes, rows, p.classes)
    above = [Path(data.path).absolute().as_posix(), Path(data.path).resolve().as_posix()]
    above += [lying.root] if isinstance(lying, Listed) else []
    given = {p.classes, *(file for file, _ in files)}
    items = listed(_items(rows, _paths(rows, above, p, entries), entries, names, given))
    if not any(item.problem is None for item in items):
        first = f"{items[0].path!r}: {items[0].problem.reason}" if rows and items[0].problem else "none"
        raise DataError(
            f"data.manifest: must name {data.kind} files below data.path, {data.path}, and their labels. None of its "
            f"{len(rows)} rows does; the first is {first}. Look at data.manifest.root, suffix and columns."
        )
    return items


def _files(p: ManifestParams, paths: list[str]) -> list[tuple[str, str]]:
    """Tables, and the part of the split that each of them is, "" for none. paths: of all files below data.path.

    Of several that one pattern names, their own names tell it: `train-00000-of-00002.parquet`. Raises DataError where
    a pattern names none.
    """
    if p.file is None:
        return [(file, split) for split, file in p.lists.given.items()]
    if not re.search(r"[*?]", p.file):
        return [(p.file, "")]
    files = [path for path in paths if fnmatch.fnmatchcase(path, p.file)]
    if not files:
        raise DataError(
            f"data.manifest.file: must be a file below data.path, or a pattern of some. Got {p.file!r}, which none of "
            f"{len(paths)} files is like."
        )
    splits = [_part_in(path) for path in files]
    return list(zip(files, splits if all(splits) else [""] * len(files), strict=True))


def _part_in(path: str) -> str:
    """The part of a split that a file is called like, by the first word of its name or of a directory; "" for none."""
    words = [re.split(r"[\W_]", part, maxsplit=1)[0] for part in reversed(path.split("/"))]
    return next((word for word in words if word in SPLIT_NAMES), "")


def _rows(tree: Shards, file: str, split: str, data: DataParams) -> Rows[Row]:
    """split: of rows that have none of their own."""
    columns = data.manifest.columns
    texts = [column for column in (columns.text, columns.second) if column is not None]
    if is_shard(file) and not texts:
        table = tree.table(file)
    else:
        with _open(tree, file) as stream:
            table = tables.read(stream, file, columns.named, texts)
    rows = rows_of(table, columns, data.kind)
    return held(replace(row, split=row.split or split) for row in rows) if split else rows


def _whole_numbers(rows: Rows[Row]) -> Rows[Row]:
    """Labels that are whole numbers, some of them as `1.0`: a table's writer knew no other kind of number."""
    labels = {label for label in rows.columns["label"].distinct if label}
    if not all(re.fullmatch(r"-?\d+(\.0+)?", label) for label in labels) or not any("." in label for label in labels):
        return rows
    say(f"note: labels are whole numbers, and some are written like {min(x for x in labels if '.' in x)}: 1.0 is 1")
    return held(replace(row, label=row.label.partition(".")[0]) for row in rows)


def _open(tree: Tree, file: str) -> IO[bytes]:
    try:
        return tree.open(file)
    except OSError as error:
        raise DataError(
            f"data.manifest: {file} must be a file below data.path. Got: {error.strerror}. "
            "Paths of the manifest's files are relative to data.path."
        ) from None


def file_path(above: Sequence[str], root: str, path: str, suffix: str) -> str:
    """Below data.path; an absolute path that leads there too, as the machine that wrote the manifest had it.

    above: what data.path is called, absolutely.
    """
    if _in_table(path):
        return path
    path = path.replace("\\", "/") + suffix
    for place in above:
        if path.startswith(f"{place}/"):
            return posixpath.normpath(path.removeprefix(f"{place}/"))
    return posixpath.normpath(posixpath.join(root, path))


def _paths(rows: Iterable[Row], above: Sequence[str], p: ManifestParams, entries: Collection[str]) -> Iterator[str]:
    """Of each row, as its file is called: é is one character to most systems, e and an accent to a Mac."""

    @cache
    def composed() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in entries:
            found.setdefault(unicodedata.normalize("NFC", path), []).append(path)
        return found

    for row in rows:
        path = file_path(above, p.root, row.path, p.suffix)
        alike = [] if path in entries else composed().get(unicodedata.normalize("NFC", path), [])
        yield alike[0] if len(alike) == 1 else path


def _in_table(path: str) -> bool:
    return embedded.is_one(path) or text_paths.is_one(path) or shards.is_one(path)


def _items(
    rows: Sequence[Row],
    paths: Iterable[str],
    entries: Mapping[str, Problem | None],
    names: Names,
    given: Collection[str | None],
) -> Iterator[Item]:
    """One for each path of the rows, then one for each file that neither they nor params.yaml name.

    paths: of each row. entries: files, and what stands against them.
    """
    named: dict[str, None] = {}
    others: dict[str, list[Row]] = {}
    leads = bytearray()  # whether a row is the first that names its path, as nearly all are
    for row, path in zip(rows, paths, strict=True):
        leads.append(path not in named)
        if leads[-1]:
            named[path] = None
        else:
            others.setdefault(path, []).append(row)
    for path, row in zip(named, compress(rows, leads), strict=True):
        yield _item(path, [row, *others.get(path, ())], entries, names)
    for path in entries:
        if path not in named and path not in given:
            yield Item(path, "", None, NOT_NAMED)


def _item(path: str, same: list[Row], entries: Mapping[str, Problem | None], names: Names) -> Item:
    """same: the rows that name this path; they must agree."""
    row = same[0]
    split: SplitName | None = SPLIT_NAMES.get(row.split)
    labels = sorted({other.label for other in same})
    if path in entries:
        problem = entries[path] or names.against(path)
    else:
        problem = None if _in_table(path) else Problem(QUARANTINED, "missing file")
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


def open_reader(path: Path) -> TextsReader:
    """Of files, and of what lies in tables and shards. Raises DataError where `path` is no directory or archive."""
    return TextsReader(Shards(open_tree(path, suffixes=None)))


SOURCE = Source(scan, open_reader)
