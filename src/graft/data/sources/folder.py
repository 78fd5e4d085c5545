"""A directory per class; train/ validation/ test/ above the classes are an official split.

A class is named by its directory; images may lie deeper. Whatever is no image file, or lies
outside the classes, is listed with the reason.
"""

from __future__ import annotations

import os
import unicodedata
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
SPLIT_LIKE = {"train", "training", "valid", "val", "validation", "test", "testing"}
UNWRITABLE = {"Cc", "Cs"}
"""Unicode categories that do not survive a CSV: control characters, and what stands for bytes that are not UTF-8."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")


def scan(root: Path) -> list[Item]:
    if not root.is_dir():
        raise DataError(f"data.path: must be a directory with one directory per class. Got {str(root)!r}.")
    directories = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    official = [name for name in directories if name in SPLIT_DIRECTORIES]
    alike = [name for name in directories if name.lower() in SPLIT_LIKE and name not in SPLIT_DIRECTORIES]
    if alike and len(alike) + len(official) > 1:
        raise DataError(
            f"data.path: {root} has {', '.join(alike)}, which look like parts of a split. "
            "Name them train, validation (or val) and test."
        )
    if official and "train" not in official:
        raise DataError(
            f"data.path: {root} has {', '.join(official)} but no train directory. "
            "Add it, or move the classes up for a split by data.fractions."
        )
    if {"validation", "val"} <= set(official):
        raise DataError(f"data.path: {root} has both validation and val. Keep one of them.")
    items = [_item(root, path, bool(official)) for path in _walk(root)]
    if not any(item.label and not item.problem for item in items):
        raise DataError(
            f"data.path: must hold directories of {', '.join(s[1:] for s in IMAGE_SUFFIXES)} images, one per class. "
            f"Found none in {str(root)!r}."
        )
    return items


def read(root: Path, path: str) -> bytes:
    return (root / path).read_bytes()


def _walk(root: Path) -> Iterator[str]:
    """Every file below `root`, relative, with forward slashes, in a fixed order.

    Hidden directories (`.git`) and links to directories are one entry each; they are not entered.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"data.path: {error.filename} must be readable. Got: {error.strerror}.")

    for folder, subfolders, files in os.walk(root, onerror=refuse):
        here = Path(folder)
        inside = [name for name in subfolders if name.startswith(".") or (here / name).is_symlink()]
        subfolders[:] = sorted(set(subfolders) - set(inside))
        for name in sorted([*files, *inside]):
            yield (here / name).relative_to(root).as_posix()


def _item(root: Path, path: str, official: bool) -> Item:
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
    if any(unicodedata.category(character) in UNWRITABLE for character in path):
        path = path.encode("utf-8", "backslashreplace").decode().encode("unicode_escape").decode()
        return Item(path, "", None, "name with control characters or not in UTF-8")
    if hidden:
        problem = "hidden file" if (root / path).is_file() else "hidden directory"
    elif (root / path).is_dir():
        problem = "link to a directory, not followed"
    elif not path.lower().endswith(IMAGE_SUFFIXES):
        problem = "not the name of an image file"
    elif not problem and not label:
        problem = "not in a class directory"
    return Item(path, label, split, problem)


SOURCE = Source(scan, read)
