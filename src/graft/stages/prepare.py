"""The source becomes a catalogue of images and, apart from it, a split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from graft.data import catalogue, split
from graft.data.sources import SOURCES
from graft.data.sources.base import SPLITS
from graft.progress import say

if TYPE_CHECKING:
    from graft.params import DataParams


def run(data: DataParams, seed: int, catalogue_path: Path, split_path: Path, metrics_path: Path) -> None:
    """Write the catalogue, the split and their counts. Raises DataError where the data cannot be used."""
    source, root = SOURCES[data.source], Path(data.path)
    items = source.scan(root)
    images = catalogue.build(source, root, items)
    catalogue.require_trainable(images)
    official = {item.path: item.split for item in items}
    sides, notes = split.make(images.used, official, data.fractions.model_dump(), seed)

    images.write(catalogue_path)
    split.write(sides, split_path)
    counts = sides["split"].value_counts()
    reasons = images.table.loc[images.table["state"] != catalogue.USED, "reason"].value_counts()
    metrics = {
        "found": len(images.table),
        "used": len(images.used),
        "set_aside": int(reasons.sum()),
        "classes": len(images.classes),
        "split": {name: int(counts.get(name, 0)) for name in SPLITS},
    }
    metrics_path.parent.mkdir(parents=True, exist_ok=True)
    metrics_path.write_text(json.dumps(metrics, indent=2) + "\n")

    say(f"{len(images.used)} images of {len(images.classes)} classes: {metrics['split']}")
    for reason, n in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))[:10]:
        say(f"set aside: {n} ({reason}); see {catalogue_path}")
    empty = sorted(set(images.table["label"]) - set(images.classes) - {""})
    if empty:
        notes.append(f"no usable image in: {', '.join(empty)}; not a class")
    for note in notes:
        say(f"note: {note}")
