"""The source becomes a catalogue of examples and, apart from it, a split; every file is accounted for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from graft.examples import catalogue, labels, relabel, split
from graft.examples.checks import duplicates, quarantine
from graft.examples.checks.kinds import KINDS
from graft.examples.checks.runners import RUNNERS
from graft.examples.sources import SOURCES
from graft.examples.sources.base import IGNORED, LEFT_OUT, QUARANTINED, SPLITS
from graft.runtime.progress import say

if TYPE_CHECKING:
    from graft.config.data import DataParams
    from graft.config.schema import Params
    from graft.examples.checks.runners.base import Runner
    from graft.pipeline.layout import Paths


def run(params: Params, paths: Paths) -> None:
    """Write the catalogue, the split, what is wrong with the data, and the counts of all.

    Raises DataError where the data cannot be used, or is worse than `data` allows.
    """
    data, seed = params.data, params.seed
    table, decided = _judged(data, RUNNERS[data.runner](params.ray))
    usable = table[table["state"] == catalogue.USED].copy()
    looks = list(KINDS[data.kind].looks)  # most of the memory that an example takes
    table = table.drop(columns=looks)
    usable["copies"] = KINDS[data.kind].copies(usable, data)
    usable = usable.drop(columns=looks)
    pa.default_memory_pool().release_unused()  # pyarrow would keep what was let go until it wants as much again
    usable["conflict"] = duplicates.conflicts(usable)
    conflicting = usable[usable["conflict"] != ""]
    quarantine.set_conflicting_aside(table, conflicting, data.duplicates.conflicting_labels)
    quarantine.write(table, paths.quarantine)
    found = duplicates.table(usable, usable["official"].fillna("").to_numpy())
    duplicates.write(found, paths.duplicates)
    quarantine.require_good(table, conflicting, data)
    if data.duplicates.across_splits == "fail":
        duplicates.require_apart(found, data.kind)

    _leave_out(table, data)
    examples = catalogue.Catalogue(table)
    for line in labels.look_alike(examples.classes):  # before all that may fail for it
        say(f"note: {line}")
    catalogue.require_trainable(examples)
    used = usable.loc[table.index[table["state"] == catalogue.USED]].reset_index(drop=True)
    sides, notes = split.make(used, used["copies"].to_numpy(), data.split, seed)

    examples.write(paths.catalogue)
    split.write(sides, paths.split)
    found = duplicates.table(usable, sides.set_index("path")["split"].reindex(usable["path"], fill_value="").to_numpy())
    duplicates.write(found, paths.duplicates)
    metrics = {
        "found": len(table),
        "used": len(used),
        **{state.replace(" ", "_"): int((table["state"] == state).sum()) for state in (IGNORED, LEFT_OUT, QUARANTINED)},
        "quarantined_for": quarantine.counts(table, QUARANTINED),
        "used_although": quarantine.counts(table, catalogue.USED),
        "duplicates": duplicates.counts(found),
        "classes": len(examples.classes),
        "split": {name: int((sides["split"] == name).sum()) for name in (*SPLITS, split.UNUSED)},
        **({"relabelled": decided.counts} if decided.counts else {}),
    }
    paths.prepare_metrics.parent.mkdir(parents=True, exist_ok=True)
    paths.prepare_metrics.write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")

    say(f"{len(used)} {data.kind}s of {len(examples.classes)} classes: {metrics['split']}")
    told = relabel.lines(decided, data.relabel, data.kind)
    told += [*quarantine.lines(table, paths.quarantine), *duplicates.lines(found, paths.duplicates, data.kind)]
    for line in [*told, *notes]:
        say(f"note: {line}")


def _judged(data: DataParams, runner: Runner) -> tuple[pd.DataFrame, relabel.Applied]:
    """A row for each item, and what was decided on labels, without the items, which take more memory than the rows."""
    kind = KINDS[data.kind]
    items = labels.assign(SOURCES[data.source].scan(data), data.classes)
    rows = [i for i, item in enumerate(items) if item.problem is None]
    seen = dict(zip(rows, kind.examine(data, [items[i].path for i in rows], runner), strict=True))
    sha256s = {i: one.sha256 for i, one in seen.items()} if data.relabel else {}
    decided = relabel.apply(items, data.relabel, sha256s, data.kind)
    table = quarantine.judged(decided.items, seen, kind, data)
    relabel.remark(table, decided.before)
    return table, replace(decided, items=[])


def _leave_out(table: pd.DataFrame, data: DataParams) -> None:
    """Classes that are too small, and examples beyond the most of a class."""
    used = table[table["state"] == catalogue.USED]
    small = labels.too_small(used, data.min_images_per_class)
    beyond = labels.too_many(used, data.max_images_per_class) & ~small
    for chosen, reason in (
        (small, "class below data.min_images_per_class"),
        (beyond, "beyond data.max_images_per_class"),
    ):
        table.loc[used.index[chosen], ["state", "reason", "detail"]] = (LEFT_OUT, reason, "")
