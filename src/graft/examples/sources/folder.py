"""A directory per class; train/ validation/ test/ above the classes are an official split.

A class is named by the first `class_depth` directories, or by all where that is null; examples may lie deeper.
Where `label` is given, the files' names tell the class instead.
Whatever is no file of the kind that is wanted, or lies outside the classes, is listed with the reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from graft.errors import DataError, listing
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
)
from graft.examples.sources.entry import Entry, held
from graft.examples.sources.names import NAMES, Names
from graft.examples.sources.tree import LINKED, Tree, open_tree

if TYPE_CHECKING:
    from graft.config.data import DataParams, FolderParams

SPLIT_LIKE = {*SPLIT_NAMES, "training", "testing"}

Labeller = Callable[[list[str]], tuple[str, Problem | None]]
"""Parts of a path, without those of the split -> the label, and what stands against the file where it has none."""

LOOSE = Problem(QUARANTINED, "no label", "not in a class directory")


def scan(data: DataParams) -> Items:
    root = Path(data.path)
    names = NAMES[data.kind]
    entries = open_tree(root, names.suffixes).entries()
    found = held(Entry(entry.path, _against(entry, names)) for entry in entries)
    directories = {one.path.split("/", 1)[0] for one in found if one.problem is None and "/" in one.path}
    official = _official(root, sorted(directories))
    label_of = _labeller(data.folder)
    items = listed(_item(one.path, one.problem, official, label_of) for one in found)
    if data.folder.label is not None:
        _require_match(items, data.folder.label, data.kind)
    require_some(items, root, data.kind)
    return items


def require_some(items: Sequence[Item], root: Path, kind: str) -> None:
    """Raises DataError where no item may be an example, with the reasons."""
    if any(item.problem is None for item in items):
        return
    loose = [item for item in items if item.problem == LOOSE]
    if loose:
        raise DataError(
            f"data.path: must hold a directory for each class. Got {len(loose)} {kind}s in {str(root)!r} itself, such "
            f"as {loose[0].path}. Put those of a class into a directory that is called like it, or list them with "
            "their labels in a table (data.source: manifest), or say how their names tell it (data.folder.label)."
        )
    reasons = Counter(item.problem.reason for item in items if item.problem)
    found = listing(f"{reason} ({n})" for reason, n in reasons.most_common()) or "no file at all"
    suffixes = ", ".join(suffix[1:] for suffix in NAMES[kind].suffixes)
    raise DataError(
        f"data.path: must hold directories of {suffixes} {kind}s, one per class. "
        f"Found none in {str(root)!r}, but: {found}."
    )


def _official(root: Path, directories: list[str]) -> bool:
    """Whether the top directories with examples are the parts of a split.

    One alone among others is a class (trains, say). Raises DataError where they seem to be a split, but are not all.
    """
    official = [name for name in directories if name in SPLIT_NAMES]
    if (
        len(official) == 1
        and len(directories) > 1
        and not any(name.lower() in SPLIT_LIKE - set(official) for name in directories)
    ):
        return False
    alike = [name for name in directories if name.lower() in SPLIT_LIKE and name not in SPLIT_NAMES]
    if alike and len(alike) + len(official) > 1:
        raise DataError(
            f"data.path: {root} has {', '.join(alike)}, which look like parts of a split. "
            "Name them train, validation (or val) and test."
        )
    if official and "train" not in official:
        raise DataError(
            f"data.path: {root} has {', '.join(official)} but no train directory. "
            "Add it, or move the classes up for a split by data.split.fractions."
        )
    for part in set(SPLIT_NAMES.values()):
        named = [name for name in official if SPLIT_NAMES[name] == part]
        if len(named) > 1:
            raise DataError(f"data.path: {root} has both {' and '.join(named)}, which is one part. Keep one of them.")
    return bool(official)


def _against(entry: Entry, names: Names) -> Problem | None:
    """What stands against a file. What was never meant to be an example is ignored, whatever else is wrong with it."""
    by_name = names.against(entry.path.strip("'\""))
    if entry.problem is None:
        return by_name
    a_file = entry.problem.state != IGNORED and entry.problem != LINKED
    return by_name if a_file and by_name is not None and by_name.state == IGNORED else entry.problem


def _item(path: str, problem: Problem | None, official: bool, label_of: Labeller) -> Item:
    """problem: what stands against the file itself."""
    *directories, name = path.split("/")
    split: SplitName | None = None
    if official:
        split = SPLIT_NAMES.get(directories[0]) if directories else None
        directories = directories[1:]
        if split is None:
            problem = problem or Problem(QUARANTINED, "no label", "outside train, validation and test")
    label, missing = label_of([*directories, name])
    return Item(path, label, split, problem or missing)


def _labeller(folder: FolderParams) -> Labeller:
    if folder.names is None:
        return partial(_by_directory, class_depth=folder.class_depth)
    return partial(_by_name, names=folder.names, like=str(folder.label))


def _by_directory(parts: list[str], class_depth: int | None) -> tuple[str, Problem | None]:
    directories = parts[:-1]
    depth = class_depth or len(directories)
    if directories and len(directories) >= depth:
        return "/".join(directories[:depth]), None
    return "", Problem(QUARANTINED, "no label", f"fewer than {depth} directories above it") if depth > 1 else LOOSE


def _by_name(parts: list[str], names: re.Pattern[str], like: str) -> tuple[str, Problem | None]:
    """By the file's name; by all of the path where the pattern has a slash."""
    whole = "/" in like
    match = names.fullmatch("/".join(parts) if whole else parts[-1])
    if match and match["label"]:
        return match["label"], None
    return "", Problem(QUARANTINED, "no label", f"its {'path' if whole else 'name'} is not like {like}")


def _require_match(items: Sequence[Item], like: str, kind: str) -> None:
    """Raises DataError where there are examples, but none has a label in its name."""
    unlike = [item for item in items if item.problem and item.problem.reason == "no label"]
    if unlike and not any(item.problem is None for item in items):
        raise DataError(
            f"data.folder.label: must be like names of {kind}s. None of {len(unlike)} is like {like!r}; the first is "
            f"{unlike[0].path}."
        )


def open_reader(path: Path) -> Tree:
    """Of what `scan` has found. Raises DataError where `path` is no directory or archive."""
    return open_tree(path, suffixes=None)


SOURCE = Source(scan, open_reader)
