"""What images are at a place, and the values of params.yaml that suit them."""

from __future__ import annotations

import fnmatch
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from graft.config import yaml_file
from graft.config.data import DataParams
from graft.errors import DataError, listing
from graft.examples.sources import SOURCES, tables
from graft.examples.sources.base import SPLIT_NAMES, SPLITS, Item, Items, Reader
from graft.examples.sources.tables import delimited
from graft.examples.sources.tables.table import Table
from graft.examples.sources.tree import Tree, open_tree
from graft.inputs.image.decode import only_undecodable, open_lazily, open_rgb
from graft.inputs.image.formats import SUFFIXES
from graft.inputs.spec import UndecodableError
from graft.project import template

SAMPLE = 100
"""Images that are opened, evenly through all classes."""

DRAWING_SIDE = 64
"""Pixels: grey images up to this side are taken for digits, letters or symbols, which the bundled weights know."""

GREY = 4.0
"""Mean difference of an image's channels, of 255, below which it is grey; JPEG leaves that much."""

IMAGENET_SIDES = (96, 128, 160, 192, 224)
"""Input sizes that MobileNetV2 has ImageNet weights of its own for, in pixels."""

OR_TEXTS = "; or, for texts, one called text and one called label"
"""Where a table has no column of paths."""

SOUGHT = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
"""Names of tables that are looked for beside images; others, a notes.txt say, must be pointed at."""

COLUMNS: Mapping[str, Sequence[str]] = {
    "path": (
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img",
        "image_id",
    ),
    "label": (
        "label",
        "class",
        "category",
        "target",
        "class_name",
        "label_name",
        "labels",
        "fine_label",
        "category_name",
        "species",
        "breed",
    ),
    "split": ("split", "subset", "partition", "set"),
    "group": ("group", "group_id"),
}
"""What a manifest's columns are usually called, the likeliest name first."""


@dataclass(frozen=True)
class Found:
    """What is at a place.

    data: values of the `data` section, "path" -> value. images, other: usable by name, and what is set aside or
    ignored. classes: label -> images. splits: part of the official split -> images, without one empty.
    width, height: of the middle image by each, pixels. grey: no colour in any.
    """

    data: Mapping[str, Any]
    images: int
    other: int
    classes: Mapping[str, int]
    splits: Mapping[str, int]
    width: int
    height: int
    grey: bool

    @property
    def drawings(self) -> bool:
        return self.grey and max(self.width, self.height) <= DRAWING_SIDE


def look(path: Path, recorded: str) -> Found:
    """path: a directory or archive of classes, one with a table in it, or a table. recorded: as params.yaml names it.

    Raises DataError where no images of at least two classes are found.
    """
    root, items, data = _listed(path, recorded)
    usable = [item for item in items if item.problem is None]
    classes = Counter(item.label for item in usable)
    if len(classes) < 2:
        raise DataError(
            f"--data: must hold images of at least two classes, a directory each. {path} has {len(usable)} of one, "
            f"{next(iter(classes))!r}. Name the directory right above the classes."
        )
    sizes, greys = _sampled(SOURCES[data["source"]].open(root), usable)
    if not sizes:
        raise DataError(f"--data: must hold images that can be read. None of {SAMPLE} looked at in {path} can.")
    return Found(
        data=data,
        images=len(usable),
        other=len(items) - len(usable),
        classes=classes,
        splits={name: n for name in SPLITS if (n := sum(item.split == name for item in usable))},
        width=round(median(width for width, _ in sizes)),
        height=round(median(height for _, height in sizes)),
        grey=all(greys),
    )


def suited(found: Found) -> dict[str, Any]:
    """Values of params.yaml, "train.epochs" -> value, as measured on product photos; drawings keep those of the digits.

    The network's input is as large as the images are, up to 224 pixels.
    """
    values = {f"data.{key}": value for key, value in found.data.items()}
    if found.drawings:
        return values
    shorter = min(found.width, found.height)
    side = next((side for side in IMAGENET_SIDES if side >= shorter), IMAGENET_SIDES[-1])
    return values | {
        "backbone.alpha": 1.0,
        "backbone.input_size": side,
        "backbone.weights": "imagenet",
        "extract.augment.horizontal_flip": True,
        "extract.augment.fill_mode": "nearest",
        "train.learning_rate": 0.001,
        "train.epochs": 20,
        "finetune.learning_rate": 0.0001,
        "finetune.epochs": 8,
    }


def sentences(found: Found) -> list[str]:
    """What was seen and what was chosen, to be read."""
    values = suited(found)
    parts = ", ".join(f"{name} {n:,}" for name, n in found.splits.items())
    split = f", split as they come ({parts})" if parts else ""
    colour = "grey" if found.grey else "in colour"
    seen = (
        f"saw: {found.images:,} images of {len(found.classes):,} classes{split}, {colour}, "
        f"the middle one {found.width} x {found.height} pixels"
    )
    if found.other:
        seen += f"; {found.other:,} other files, which data/prepared/quarantine.csv will list with the reason"
    if found.drawings:
        chosen = "the bundled MobileNetV2, which knows strokes; views turned and shifted a little, not mirrored"
    else:
        chosen = (
            f"MobileNetV2 at {values['backbone.input_size']} pixels with ImageNet weights, which Keras fetches once; "
            "views turned, shifted and mirrored. Where left and right differ (letters, signs), set "
            "extract.augment.horizontal_flip: false"
        )
    return [seen, f"chose: {chosen}"]


def _listed(path: Path, recorded: str) -> tuple[Path, Items, dict[str, Any]]:
    """data.path, the items there, and the values of `data` that list them."""
    if path.suffix.lower() in tables.READERS and path.is_file():
        data = _manifest(open_tree(path.parent), path.name) | {"path": Path(recorded).parent.as_posix()}
        return path.parent, _scan(path.parent, data), data
    data = {"source": "folder", "path": recorded}
    tree = open_tree(path)
    table = _table_among([entry.path for entry in tree.entries()])
    try:
        items = _scan(path, data)
        if len({item.label for item in items if item.problem is None}) > 1 or table is None:
            return path, items, data
    except DataError as error:
        if table is None:
            raise DataError(str(error).replace("data.path", "--data")) from None
    data = _manifest(tree, table) | {"path": recorded}
    return path, _scan(path, data), data


def _table_among(paths: Sequence[str]) -> str | None:
    """The one table beside the images, or a pattern of the parquets that are one together; None where none is."""
    beside = [path for path in paths if "/" not in path and path.lower().endswith(SOUGHT)]
    if len(beside) == 1:
        return beside[0]
    parquets = [path for path in paths if path.endswith(".parquet")]
    folders = {posixpath.dirname(path) for path in parquets}
    if len(folders) != 1 or not set(beside) <= set(parquets):
        return None
    return posixpath.join(folders.pop(), "*.parquet") if len(parquets) > 1 else parquets[0]


def _scan(root: Path, data: Mapping[str, Any]) -> Items:
    """root: where they are, seen from here."""
    values = {f"data.{key}": value for key, value in data.items()} | {"data.path": str(root)}
    tree = yaml_file.parse(template.parameters(values), "params.yaml")
    return SOURCES[data["source"]].scan(DataParams.model_validate(tree["data"]))


def _manifest(tree: Tree, file: str) -> dict[str, Any]:
    """Values of `data` for a table: its columns by their usual names, and where the paths in it start.

    file: a table or a pattern of some, of which the first shows the columns.
    """
    paths = [entry.path for entry in tree.entries()]
    first = next((path for path in paths if fnmatch.fnmatchcase(path, file)), file)
    table = _table(tree, first, with_header=True)
    columns = _by_usual_names(table)
    if columns["path"] is None and Path(first).suffix.lower() in delimited.DELIMITERS:
        bare = _table(tree, first, with_header=False)
        table, columns = (bare, found) if (found := _by_files(bare, paths)) else (table, columns)
    for field in ("path", "label"):
        if columns[field] is None:
            raise DataError(
                f"--data: {first} must have a column for the {field}, called {listing(COLUMNS[field], 20)}"
                f"{OR_TEXTS if field == 'path' else ''}. It has "
                f"{listing(table.header or [], 20)}. Rename one, or run `graft init` without --data and fill in "
                "data.source, data.path and data.manifest.columns in params.yaml."
            )
    root, suffix = _place(_cells(table, columns["path"])[0] if table.rows else "", paths)
    return {
        "source": "manifest",
        "manifest.file": file,
        "manifest.root": root,
        "manifest.suffix": suffix,
        **{f"manifest.columns.{field}": name for field, name in columns.items()},
    }


def _table(tree: Tree, file: str, with_header: bool) -> Table:
    with tree.open(file) as stream:
        return tables.read(stream, file, with_header)


def _by_usual_names(table: Table) -> dict[str, str | int | None]:
    """Columns by what they are usually called; a split only where its values are parts of one."""
    by_name = {name.strip().lower(): name for name in table.header or []}
    columns: dict[str, str | int | None] = {
        field: next((by_name[name] for name in names if name in by_name), None) for field, names in COLUMNS.items()
    }
    if columns["split"] is not None and not set(_cells(table, columns["split"])) <= {*SPLIT_NAMES, ""}:
        columns["split"] = None
    return columns


def _by_files(table: Table, paths: Sequence[str]) -> dict[str, str | int | None] | None:
    """Columns of a table of two without a header: the one that leads to a file is the path. None for any other."""
    if table.width != 2 or not table.rows:
        return None
    leading = [k for k in range(2) if _leads(table.rows[0][k].strip(), paths)]
    if len(leading) != 1:
        return None
    return {"path": leading[0], "label": 1 - leading[0], "split": None, "group": None}


def _cells(table: Table, column: str | int | None) -> list[str]:
    place = column if isinstance(column, int) else (table.header or []).index(str(column))
    return [row[place].strip() for row in table.rows]


def _place(first: str, files: Sequence[str]) -> tuple[str, str]:
    """Where the listed paths start, and what is to be appended to each, by the first one; as it is where none fits."""
    return _leads(first, files) or (".", "")


def _leads(first: str, files: Sequence[str]) -> tuple[str, str] | None:
    """Likewise; None where none fits."""
    for suffix in ("", *SUFFIXES) if first else ():
        wanted = f"{first}{suffix}"
        for file in files:
            if file == wanted:
                return ".", suffix
            if file.endswith(f"/{wanted}"):
                return file.removesuffix(f"/{wanted}"), suffix
    return None


def _sampled(
    reader: Reader, items: Sequence[Item], most_pixels: int = 2**26
) -> tuple[list[tuple[int, int]], list[bool]]:
    """(width, height) and whether it is grey, of some images that can be read; what the others are, `prepare` says."""
    sizes, greys = [], []
    for item in items[:: max(1, len(items) // SAMPLE)]:
        with suppress(OSError, UndecodableError), only_undecodable():
            data = reader.read(item.path)
            width, height = open_lazily(data).size
            if width * height <= most_pixels:
                pixels = np.asarray(open_rgb(data, DRAWING_SIDE))
                sizes.append((width, height))
                greys.append(float(np.ptp(pixels, axis=2).mean()) < GREY)
    return sizes, greys
