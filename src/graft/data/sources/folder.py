"""A directory per class; train/ validation/ test/ above the classes are an official split.

A class is named by its directory; images may lie deeper. Whatever is no image file, or lies
outside the classes, is listed with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from graft.data.sources.base import Item, Source, SplitName
from graft.errors import DataError

SPLIT_DIRECTORIES: dict[str, SplitName] = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")


def scan(root: Path) -> list[Item]:
    if not root.is_dir():
        raise DataError(f"data.path: must be a directory with one directory per class. Got {str(root)!r}.")
    directories = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    official = [name for name in directories if name in SPLIT_DIRECTORIES]
    if official and "train" not in official:
        raise DataError(
            f"data.path: {root} has {', '.join(official)} but no train directory. "
            "Add it, or move the classes up for a split by data.fractions."
        )
    if {"validation", "val"} <= set(official):
        raise DataError(f"data.path: {root} has both validation and val. Keep one of them.")
    items = [_item(path, bool(official)) for path in _walk(root)]
    if not any(item.label and not item.problem for item in items):
        raise DataError(
            f"data.path: must hold directories of {', '.join(s[1:] for s in IMAGE_SUFFIXES)} images, one per class. "
            f"Found none in {str(root)!r}."
        )
    return items


def read(root: Path, path: str) -> bytes:
    return (root / path).read_bytes()


def _walk(root: Path) -> Iterator[str]:
    """Every file below `root`, relative, with forward slashes, in a fixed order."""

    def refuse(error: OSError) -> None:
        raise DataError(f"data.path: {error.filename} must be readable. Got: {error.strerror}.")

    for folder, subfolders, files in os.walk(root, onerror=refuse):
        subfolders.sort()
        for name in sorted(files):
            yield (Path(folder) / name).relative_to(root).as_posix()


def _item(path: str, official: bool) -> Item:
    parts = path.split("/")
    hidden = any(part.startswith(".") for part in parts)
    split: SplitName | None = None
    inner = parts
    problem = ""
    if official:
        split = SPLIT_DIRECTORIES.get(parts[0])
        inner = parts[1:]
        if split is None:
            problem = "outside train, validation and test"
    label = inner[0] if len(inner) > 1 else ""
    if hidden:
        problem = "hidden file"
    elif not path.lower().endswith(IMAGE_SUFFIXES):
        problem = "not the name of an image file"
    elif not problem and not label:
        problem = "not in a class directory"
    return Item(path, label, split, problem)


SOURCE = Source(scan, read)
