"""What is wrong with files, and when that is too much: a CSV with the columns path, reason, detail, state.

It lists what is set aside and, with the state `used`, what is only worth a word: animations, wrong
extensions. Where there are several such words on a file, its reason is the first, and its detail all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from graft.errors import DataError, listing
from graft.examples.catalogue import ITEMS, MEASURES, USED, kind_of
from graft.examples.sources.base import IGNORED, LEFT_OUT, QUARANTINED, plain
from graft.runtime.columns import Column, Few, Numbers, Pieces, Rows, Texts

if TYPE_CHECKING:
    from graft.config.data import ConflictingLabels, DataParams
    from graft.examples.checks.examined import Examined, Judgement
    from graft.examples.checks.kinds import Kind
    from graft.examples.checks.runners.base import Runner
    from graft.examples.sources.base import Items

LISTED = ("path", "reason", "detail", "state")

MISSING = ("missing file", "broken link")
"""Reasons of files that are not there, which have a limit of their own: nothing is wrong with what is there."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An item that was examined. number: among all. first, second: the two of `catalogue.MEASURES`. look: what copies
    are found by, of one that can be used.
    """

    number: int
    sha256: str
    n_bytes: int
    first: int
    second: int
    judgement: Judgement
    look: bytes


def examined(items: Items, kind: Kind, data: DataParams, runner: Runner) -> Rows[Judged]:
    """What the examples that the items are turn out to be, in the order in which that is found out."""
    usable = np.fromiter((problem is None for problem in items.columns["problem"]), bool, len(items))
    numbers = np.flatnonzero(usable)
    paths = Texts(itertools.compress(items.columns["path"], usable))
    columns: dict[str, Column[Any]] = {name: Numbers("q") for name in ("number", "n_bytes", "first", "second")}
    columns |= {"sha256": Texts(), "look": Pieces()}

    def judge(place: int, found: Examined[Any]) -> Judged:
        shown = found.verdict
        if shown is None:
            judgement = (QUARANTINED, "cannot be read", found.error)
        else:
            judgement = kind.judge(paths[place], shown, data)
        measured = kind.measured(shown, data) if shown else (0, 0)
        look = kind.look(shown) if judgement[0] == USED else b""
        return Judged(int(numbers[place]), found.sha256, found.n_bytes, *measured, judgement, look)

    return Rows(Judged, columns, itertools.starmap(judge, kind.examine(data, paths, runner)))


def tabled(items: Items, found: Rows[Judged], kind: str) -> pd.DataFrame:
    """The catalogue's columns and official, group and weight, a row per item. found: of those that were examined."""
    numbers = found.columns["number"].values

    def of_files(name: str, missing: str | int) -> pd.Series:
        column: pd.Series = found.columns[name].series()
        column.index = numbers
        return column.reindex(range(len(items)), fill_value=missing)

    known = np.zeros(len(items), np.int32)
    known[numbers] = found.columns["judgement"].places
    distinct = found.columns["judgement"].distinct
    judgements = Few(
        (problem.state, problem.reason, plain(problem.detail)) if problem is not None else distinct[place]
        for problem, place in zip(items.columns["problem"], known, strict=True)
    )
    measures = zip(MEASURES[kind], ("first", "second"), strict=True)
    columns = {
        "path": items.columns["path"].series(),
        "sha256": of_files("sha256", ""),
        "bytes": of_files("n_bytes", 0),
        **{name: of_files(field, 0) for name, field in measures},
        "label": items.columns["label"].series(),
        **{name: judgements.series(itemgetter(k)) for k, name in enumerate(("state", "reason", "detail"))},
        "official": items.columns["split"].series(),
        "group": items.columns["group"].series(),
        "weight": items.columns["weight"].series(),
    }
    return pd.DataFrame(columns, copy=False)


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
