"""What is wrong with files, and when that is too much: a CSV with the columns path, reason, detail, state.

It lists what is set aside and, with the state `used`, what is only worth a word: animations, wrong
extensions. Where there are several such words on a file, its reason is the first, and its detail all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from graft.errors import DataError, listing
from graft.examples.catalogue import BEFORE, BEHIND, ITEMS, MEASURES, USED, kind_of
from graft.examples.sources.base import IGNORED, LEFT_OUT, QUARANTINED, Item, plain

if TYPE_CHECKING:
    from graft.config.data import ConflictingLabels, DataParams
    from graft.examples.checks.examined import Examined
    from graft.examples.checks.kinds import Kind

LOOK = pd.ArrowDtype(pa.binary())
"""Of what copies are found by: one block of memory, where Python's own bytes would be spread among what is let go."""

LISTED = ("path", "reason", "detail", "state")

MISSING = ("missing file", "broken link")
"""Reasons of files that are not there, which have a limit of their own: nothing is wrong with what is there."""


def judged(items: Sequence[Item], examined: Mapping[int, Examined[Any]], kind: Kind, data: DataParams) -> pd.DataFrame:
    """The catalogue's columns and official, group, weight, and what copies of the kind are found by, a row per item.

    examined: of items by their number.
    """
    columns = [*BEFORE, *MEASURES[data.kind], *BEHIND, "official", "group", "weight", *kind.looks]
    cells: list[list[Any]] = [[] for _ in columns]
    for i, item in enumerate(items):
        found = examined.get(i)
        shown = found.verdict if found else None
        if item.problem is not None:
            judgement = (item.problem.state, item.problem.reason, plain(item.problem.detail))
        elif shown is None:
            judgement = (QUARANTINED, "cannot be read", found.error if found else "")
        else:
            judgement = kind.judge(item.path, shown, data)
        row = (
            item.path,
            found.sha256 if found else "",
            found.n_bytes if found else 0,
            *(kind.measured(shown, data) if shown else (0, 0)),
            item.label,
            *judgement,
            item.split,
            item.group,
            item.weight,
            *(getattr(shown, name) if shown else b"" for name in kind.looks),
        )
        for column, cell in zip(cells, row, strict=True):
            column.append(cell)
    named = dict(zip(columns, cells, strict=True))
    return pd.DataFrame(
        {name: pd.Series(named.pop(name), dtype=LOOK) if name in kind.looks else named.pop(name) for name in columns}
    )


def set_conflicting_aside(table: pd.DataFrame, conflicting: pd.DataFrame, what: ConflictingLabels) -> None:
    """conflicting: rows of `table`, with the number of their copies and their conflict. what: is done with which."""
    details = {}
    aside = set(conflicting.index[conflicting["conflict"].map(what.model_dump()) == "quarantine"])
    for _, rows in conflicting.groupby("copies"):
        entries = list(zip(rows.index, rows["path"], rows["label"], rows["sha256"], strict=True))
        for index, _, label, sha256 in entries:
            if index not in aside:
                continue
            others = [entry for entry in entries if entry[2] != label]
            _, path, wrong, same = next((entry for entry in others if entry[3] == sha256), others[0])
            kind = "identical" if same == sha256 else "nearly identical"
            details[index] = f"{label}, but {kind} to {path} of {wrong}"
    chosen = list(details)
    table.loc[chosen, "state"] = QUARANTINED
    table.loc[chosen, "reason"] = "conflicting labels"
    table.loc[chosen, "detail"] = list(details.values())


def counts(table: pd.DataFrame, state: str) -> dict[str, int]:
    """reason -> files, commonest first."""
    reasons = table.loc[(table["state"] == state) & (table["reason"] != ""), "reason"].value_counts()
    return {str(r): int(n) for r, n in sorted(reasons.items(), key=lambda pair: (-pair[1], str(pair[0])))}


def _commonest(reasons: Mapping[str, int]) -> str:
    """The ten commonest, with their numbers. reasons: as `counts` gives them."""
    return ", ".join(f"{reason} ({n})" for reason, n in list(reasons.items())[:10])


def write(table: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    remarkable = (table["state"] == QUARANTINED) | ((table["state"] == USED) & (table["reason"] != ""))
    table[remarkable].to_csv(path, index=False, lineterminator="\n", columns=list(LISTED))


def read(path: Path) -> pd.DataFrame:
    """As written."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def require_good(table: pd.DataFrame, conflicting: pd.DataFrame, data: DataParams) -> None:
    """Raises DataError where more is wrong than `data` allows."""
    for conflict, what in data.duplicates.conflicting_labels.model_dump().items():
        rows = conflicting[conflicting["conflict"] == conflict].sort_values("copies", kind="stable")
        if what == "fail" and len(rows):
            shown = [f"{row.path} ({row.label})" for row in rows.itertuples()]
            raise DataError(
                f"data.duplicates.conflicting_labels.{conflict}: fail, and {len(shown)} {data.kind}s have such a copy "
                f"with another label: {listing(shown, 5)}. Correct the labels, or set it to quarantine or keep."
            )
    bad = table[table["state"] == QUARANTINED]
    reasons = _commonest(counts(table, QUARANTINED))
    where = "quarantine.csv beside the catalogue lists all."
    if data.on_bad == "fail" and len(bad):
        raise DataError(
            f"data.on_bad: fail, and {len(bad)} {ITEMS[data.kind]} cannot be used: {reasons}. First: "
            f"{listing(bad['path'], 5)}. Mend or remove them, or set data.on_bad: quarantine. {where}"
        )
    considered = int((~table["state"].isin([IGNORED, LEFT_OUT])).sum())
    missing = bad["reason"].isin(MISSING)
    for name, some, what in (
        ("max_missing_fraction", bad[missing], "files may be missing"),
        ("max_bad_fraction", bad[~missing], f"{data.kind}s may be set aside"),
    ):
        most = getattr(data, name)
        if len(some) > most * considered:
            raise DataError(
                f"data.{name}: at most {most:g} of the {what}. Got {len(some) / considered:.3g} ({len(some)} of "
                f"{considered}): {_commonest(counts(some, QUARANTINED))}. First: {listing(some['path'], 3)}. "
                f"Mend the data, or raise the fraction. {where}"
            )


def lines(table: pd.DataFrame, path: Path) -> list[str]:
    """What to tell of files that are not used, or used with a word."""
    told = []
    kind = kind_of(table)
    for state, what in ((QUARANTINED, "set aside"), (LEFT_OUT, "left out"), (USED, "used all the same")):
        reasons = counts(table, state)
        if reasons:
            see = f"; see {path}" if state != LEFT_OUT else ""
            told.append(f"{sum(reasons.values())} {ITEMS[kind]} {what}: {_commonest(reasons)}{see}")
    ignored = counts(table, IGNORED)
    if ignored:
        told.append(f"{sum(ignored.values())} other files ignored: {_commonest(ignored)}")
    empty = sorted(set(table["label"]) - set(table.loc[table["state"].isin([USED, LEFT_OUT]), "label"]) - {""})
    if empty:
        told.append(f"no usable {kind} in: {listing(empty)}; not a class")
    return told
