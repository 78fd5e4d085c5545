"""Decisions on labels, image by image: `data.relabel` names a table of them, which `graft audit` writes undecided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from graft.errors import DataError, listing, unknown
from graft.examples.catalogue import USED
from graft.examples.sources import tables
from graft.examples.sources.base import LEFT_OUT, Item
from graft.examples.sources.names import an
from graft.examples.sources.tables.table import Table

FOLDER = Path("data/relabel")
"""Where the tables lie: a dependency of `prepare` in dvc.yaml, since DVC knows no dependency that may be empty."""

PATH, SHA256, DECISION = "path", "sha256", "decision"
"""Columns. The sha256 may be missing; others are not read."""

REMOVE, KEEP = "remove", "keep"
"""Decisions that are no class."""


@dataclass(frozen=True)
class Decision:
    """what: a class, REMOVE or KEEP. sha256: of the file that was looked at, "" for any. place: for messages."""

    what: str
    sha256: str
    place: str


@dataclass(frozen=True)
class Applied:
    """removed: numbers of items. changed: number of an item -> its label in the source, and the one that it has now.
    counts: of decisions, by what they did.
    """

    removed: list[int]
    changed: dict[int, tuple[str, str]]
    counts: dict[str, int]


def read(name: str, kind: str = "image") -> tuple[dict[str, Decision], int]:
    """path -> its decision, and how many rows have none yet. name: of a table in FOLDER. kind: for messages.

    Raises DataError where it is not there, is no such table, or decides twice on an image.
    """
    file = FOLDER / name
    table = _table(file)
    columns = {column: number for number, column in enumerate(table.header or [])}
    if missing := [column for column in (PATH, DECISION) if column not in columns]:
        raise DataError(
            f"data.relabel: {file} must have the columns {PATH} and {DECISION}. It lacks {listing(missing)}; it has "
            f"{listing(columns) or 'none'}."
        )
    decisions: dict[str, Decision] = {}
    undecided = 0
    for number, row in enumerate(table.rows):
        path, what = row[columns[PATH]], row[columns[DECISION]].strip()
        if not what:
            undecided += 1
            continue
        sha256 = row[columns[SHA256]].strip() if SHA256 in columns else ""
        if path in decisions and decisions[path].what != what:
            raise DataError(
                f"data.relabel: {an(kind)} must have one decision. {path} has {decisions[path].what!r} in "
                f"{decisions[path].place}, and {what!r} in {table.place(number)}. Remove one."
            )
        decisions[path] = Decision(what, sha256, table.place(number))
    return decisions, undecided


def _table(file: Path) -> Table:
    if not file.is_file():
        there = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.?sv"))
        raise DataError(
            f"data.relabel: must be the name of a table in {FOLDER}. There is no {file}; there: "
            f"{listing(there) or 'none'}. Put it there, or let data.relabel be empty."
        )
    try:
        with file.open("rb") as stream:
            return tables.read(stream, str(file), with_header=True)
    except DataError as fault:
        raise DataError(f"data.relabel: {str(fault).removeprefix('data.manifest: ')}") from None


def apply(items: Sequence[Item], name: str | None, sha256s: pd.Series, kind: str = "image") -> Applied:
    """The decisions of a table, if one is named. sha256s: of each item's file, "" where it was not examined.
    kind: of the examples, for messages.

    Labels are those that `data.classes` gives. What takes no part already stays as it is, whatever was decided.

    Raises DataError where the table is not as it must be, names an image or a class that there is not, or has decided
    on another picture.
    """
    if name is None:
        return Applied([], {}, {})
    decisions, undecided = read(name, kind)
    _require_known(items, decisions)
    removed: list[int] = []
    changed: dict[int, tuple[str, str]] = {}
    counts = dict.fromkeys(("changed", "removed", "kept", "without_effect"), 0) | {"undecided": undecided}
    for number, item in enumerate(items):
        decision = decisions.get(item.path)
        if decision is None:
            continue
        if item.problem is not None:
            counts["without_effect"] += 1
            continue
        found = str(sha256s.iat[number])
        seen = "picture" if kind == "image" else kind
        if decision.sha256 and found and decision.sha256 != found:
            raise DataError(
                f"data.relabel: {decision.place} was decided on another {seen} at {item.path}: its sha256 must be "
                f"{found}. Got {decision.sha256}. Look at it, and correct the row, or empty its {DECISION}."
            )
        if decision.what == REMOVE:
            removed.append(number)
            counts["removed"] += 1
        elif decision.what in (KEEP, item.label):
            counts["kept"] += 1
        else:
            changed[number] = (item.label, decision.what)
            counts["changed"] += 1
    return Applied(removed, changed, counts)


def _require_known(items: Sequence[Item], decisions: Mapping[str, Decision]) -> None:
    if foreign := sorted(set(decisions).difference(item.path for item in items)):
        raise DataError(
            f"data.relabel: {decisions[foreign[0]].place}: a path must be one of the source, as catalogue.csv has it. "
            f"Unknown: {listing(foreign, 3)}. Correct or remove the row."
        )
    classes = sorted({item.label for item in items if item.problem is None and item.label})
    for decision in decisions.values():
        if decision.what in (REMOVE, KEEP):
            if decision.what in classes:
                raise DataError(
                    f"data.relabel: {decision.place}: {decision.what!r} is a decision and the name of a class. Rename "
                    "the class by data.classes."
                )
        elif decision.what not in classes:
            raise DataError(
                f"data.relabel: {decision.place}: a decision must be {REMOVE}, {KEEP} or a class, and a class "
                f"{unknown(decision.what, classes)}"
            )


def record(table: pd.DataFrame, applied: Applied) -> None:
    """Write into the catalogue what was decided, and what label a used image had. table: a row for each item."""
    table.loc[applied.removed, ["state", "reason", "detail"]] = (LEFT_OUT, "removed by data.relabel", "")
    table.loc[list(applied.changed), "label"] = [now for _, now in applied.changed.values()]
    said = table.loc[list(applied.changed), ["state", "reason", "detail"]]
    said = said[said["state"] == USED]
    words = [f"{applied.changed[number][0]} in the source" for number in said.index]
    table.loc[said.index, "reason"] = [reason or "relabelled" for reason in said["reason"]]
    table.loc[said.index, "detail"] = [
        f"{detail}; {word}" if detail else word for detail, word in zip(said["detail"], words, strict=True)
    ]


def lines(applied: Applied, name: str | None, kind: str, most: int = 5) -> list[str]:
    """What to tell of decisions. kind: of the examples."""
    if name is None:
        return []
    n = applied.counts
    moves = Counter(applied.changed.values())
    shown = listing((f"{a} to {b} ({m})" for (a, b), m in sorted(moves.items(), key=_commonest)), most)
    told = [
        f"{n['changed']} labels changed{f': {shown}' if shown else ''}",
        f"{n['removed']} {kind}s removed",
        f"{n['kept']} labels kept",
    ]
    told += [f"{n['without_effect']} decided on that take no part anyway"] if n["without_effect"] else []
    told += [f"{n['undecided']} rows undecided"] if n["undecided"] else []
    return [f"{FOLDER / name}: {'; '.join(told)}"]


def _commonest(move: tuple[tuple[str, str], int]) -> tuple[int, tuple[str, str]]:
    return -move[1], move[0]
