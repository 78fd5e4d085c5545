"""The source becomes a catalogue of images and, apart from it, a split; every file is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from graft.data import catalogue, labels, split
from graft.data.checks import duplicates, quarantine
from graft.data.checks.examine import examine_all
from graft.data.sources import SOURCES
from graft.data.sources.base import IGNORED, LEFT_OUT, QUARANTINED, SPLITS
from graft.progress import say

if TYPE_CHECKING:
    from graft.params import DataParams


def run(
    data: DataParams,
    seed: int,
    catalogue_path: Path,
    split_path: Path,
    quarantine_path: Path,
    duplicates_path: Path,
    metrics_path: Path,
) -> None:
    """Write the catalogue, the split, what is wrong with the data, and the counts of all.

    Raises DataError where the data cannot be used, or is worse than `data` allows.
    """
    items = labels.assign(SOURCES[data.source].scan(data), data.classes)
    rows = [i for i, item in enumerate(items) if item.problem is None]
    examined = examine_all(data.source, Path(data.path), [items[i].path for i in rows], data.max_pixels)
    table = quarantine.judged(items, dict(zip(rows, examined, strict=True)), data.min_side, data.max_pixels)

    usable = table[table["state"] == catalogue.USED].copy()
    usable["copies"] = duplicates.groups(
        list(usable["sha256"]), list(usable["perceptual_hash"]), data.duplicates.near_distance
    )
    conflicting = usable[duplicates.differing(usable, "label")]
    if data.duplicates.conflicting_labels == "quarantine":
        quarantine.set_conflicting_aside(table, conflicting)
    quarantine.write(table, quarantine_path)
    found = duplicates.table(usable, usable["official"].fillna("").to_numpy())
    duplicates.write(found, duplicates_path)
    quarantine.require_good(table, conflicting, data)
    if data.duplicates.across_splits == "fail":
        duplicates.require_apart(found)

    _leave_out(table, data)
    images = catalogue.Catalogue(table)
    catalogue.require_trainable(images)
    used = usable.loc[table.index[table["state"] == catalogue.USED]].reset_index(drop=True)
    sides, notes = split.make(used, used["copies"].to_numpy(), data.split, seed)

    images.write(catalogue_path)
    split.write(sides, split_path)
    found = duplicates.table(usable, sides.set_index("path")["split"].reindex(usable["path"], fill_value="").to_numpy())
    duplicates.write(found, duplicates_path)
    metrics = {
        "found": len(table),
        "used": len(used),
        **{state.replace(" ", "_"): int((table["state"] == state).sum()) for state in (IGNORED, LEFT_OUT, QUARANTINED)},
        "quarantined_for": quarantine.counts(table, QUARANTINED),
        "used_although": quarantine.counts(table, catalogue.USED),
        "duplicates": duplicates.counts(found),
        "classes": len(images.classes),
        "split": {name: int((sides["split"] == name).sum()) for name in (*SPLITS, split.UNUSED)},
    }
    metrics_path.parent.mkdir(parents=True, exist_ok=True)
    metrics_path.write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")

    say(f"{len(used)} images of {len(images.classes)} classes: {metrics['split']}")
    for line in [*quarantine.lines(table, quarantine_path), *duplicates.lines(found, duplicates_path), *notes]:
        say(f"note: {line}")


def _leave_out(table: pd.DataFrame, data: DataParams) -> None:
    """Classes that are too small, and images beyond the most of a class."""
    used = table[table["state"] == catalogue.USED]
    small = labels.too_small(used, data.min_images_per_class)
    beyond = labels.too_many(used, data.max_images_per_class) & ~small
    for chosen, reason in (
        (small, "class below data.min_images_per_class"),
        (beyond, "beyond data.max_images_per_class"),
    ):
        table.loc[used.index[chosen], ["state", "reason", "detail"]] = (LEFT_OUT, reason, "")
