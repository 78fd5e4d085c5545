"""The source becomes a catalogue of examples and, apart from it, a split; every file is accounted for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd

from graft.examples import catalogue, labels, relabel, split
from graft.examples.checks import duplicates, quarantine
from graft.examples.checks.examined import Looks
from graft.examples.checks.kinds import KINDS
from graft.examples.checks.runners import RUNNERS
from graft.examples.sources import SOURCES
from graft.examples.sources.base import IGNORED, LEFT_OUT, QUARANTINED, SPLITS
from graft.examples.splitting.make import make_split
from graft.runtime import memory
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
    table, copies, decided = _judged(data, RUNNERS[data.runner](params.ray))
    memory.give_back()
    comparable = copies[table["state"] == catalogue.USED]
    doubled = table.join(comparable[comparable.duplicated(keep=False)].rename("copies"), how="inner")
    doubled = doubled.assign(conflict=duplicates.conflicts(doubled))
    conflicting = doubled[doubled["conflict"] != ""]
    quarantine.set_conflicting_aside(table, conflicting, data.duplicates.conflicting_labels)
    quarantine.write(table, paths.quarantine)
    found = duplicates.table(doubled, doubled["official"].fillna("").to_numpy())
    duplicates.write(found, paths.duplicates)
    quarantine.require_good(table, conflicting, data)
    if data.duplicates.across_splits == "fail":
        duplicates.require_apart(found, data.kind)

    _leave_out(table, data)
    examples = catalogue.Catalogue(table)
    for line in labels.look_alike(examples.classes):  # before all that may fail for it
        say(f"note: {line}")
    catalogue.require_trainable(examples)
    rows = table.index[table["state"] == catalogue.USED]
    used = table.loc[rows, ["path", "sha256", *catalogue.MEASURES[data.kind], "label", "official", "group", "weight"]]
    sides, notes = make_split(used.reset_index(drop=True), copies[rows].to_numpy(), data.split, seed)
    del used
    memory.give_back()

    examples.write(paths.catalogue)
    split.write(sides, paths.split)
    found = duplicates.table(doubled, sides["split"].set_axis(rows).reindex(doubled.index, fill_value="").to_numpy())
    duplicates.write(found, paths.duplicates)
    metrics = {
        "found": len(table),
        "used": len(rows),
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

    say(f"{len(rows)} {data.kind}s of {len(examples.classes)} classes: {metrics['split']}")
    told = relabel.lines(decided, data.relabel, data.kind)
    told += [*quarantine.lines(table, paths.quarantine), *duplicates.lines(found, paths.duplicates, data.kind)]
    for line in [*told, *notes]:
        say(f"note: {line}")


def _judged(data: DataParams, runner: Runner) -> tuple[pd.DataFrame, pd.Series, relabel.Applied]:
    """A row for each item, the number of its copies' group, of those that can be used, and what was decided on labels.

    What was found of each is let go as soon as it has become a row.
    """
    kind = KINDS[data.kind]
    items = labels.assign(SOURCES[data.source].scan(data), data.classes)
    memory.give_back()
    found = quarantine.examined(items, kind, data, runner)
    table = quarantine.tabled(items, found, data.kind)
    decided = relabel.apply(items, data.relabel, table["sha256"], data.kind)
    relabel.record(table, decided)
    looks = Looks.held(found.columns["look"], found.columns["number"].values)
    del items, found
    memory.give_back()
    usable = (table["state"] == catalogue.USED).to_numpy()
    return table, pd.Series(kind.copies(table, looks.among(usable), data)), decided


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
