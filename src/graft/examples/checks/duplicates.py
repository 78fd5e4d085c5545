"""Copies of one example, and what follows from them: conflicting labels, copies on several sides, a table of all.

Which examples are copies, `near_images` and `near_texts` say.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from graft.errors import DataError, listing

IDENTICAL, NEAR = "identical", "near"

COLUMNS = ("group", "kind", "finding", "path", "label", "split")


def conflicts(usable: pd.DataFrame) -> np.ndarray:
    """(n,) object: IDENTICAL where an image's bytes have another label too, NEAR where only a near copy has, or ""."""
    same_bytes = usable.groupby("sha256")["label"].transform("nunique") > 1
    return np.where(same_bytes, IDENTICAL, np.where(differing(usable, "label"), NEAR, "")).astype(object)


def differing(usable: pd.DataFrame, column: str) -> np.ndarray:
    """(n,) bool: images with a copy that has another value in `column`: another label, another official side."""
    return np.asarray(usable.groupby("copies")[column].transform("nunique") > 1)


def require_apart(rows: pd.DataFrame, kind: str) -> None:
    """Raises DataError where copies are on several sides of an official split. rows: as `table` gives them. kind: of
    the examples, for messages.
    """
    leaking = rows[rows["finding"] == "across splits"]
    if len(leaking):
        shown = (f"{path} ({side})" for path, side in zip(leaking["path"], leaking["split"], strict=True))
        raise DataError(
            f"data.duplicates.across_splits: fail, and {len(leaking)} {kind}s have copies on another side of "
            f"the official split: {listing(shown, 6)}. Remove them, or set it to keep_together. "
            "duplicates.csv beside the catalogue lists all."
        )


def table(usable: pd.DataFrame, sides: np.ndarray) -> pd.DataFrame:
    """COLUMNS, a row per image that has copies, groups numbered from 1.

    usable: path, sha256, label, copies, official. sides: (n,) split of each, "" where it has none.
    finding: conflicting labels, across splits (of an official split), or within a split.
    """
    rows = usable[["path", "sha256", "label", "copies", "official"]].assign(split=sides)
    rows = rows[rows.groupby("copies")["path"].transform("size") > 1]
    across = np.where(differing(rows, "official"), "across splits", "within a split")
    rows = rows.assign(
        kind=np.where(differing(rows, "sha256"), NEAR, IDENTICAL),
        finding=np.where(differing(rows, "label"), "conflicting labels", across),
        group=pd.factorize(rows["copies"])[0] + 1,
    )
    return rows.sort_values("group", kind="stable")[list(COLUMNS)]


def counts(rows: pd.DataFrame) -> dict[str, int]:
    """Images that have copies, by kind and by finding."""
    return {
        name.replace(" ", "_"): int((rows[column] == name).sum())
        for column, names in (
            ("kind", (IDENTICAL, NEAR)),
            ("finding", ("within a split", "across splits", "conflicting labels")),
        )
        for name in names
    }


def lines(rows: pd.DataFrame, path: Path, kind: str) -> list[str]:
    """What to tell of copies. kind: of the examples."""
    if not len(rows):
        return []
    found = ", ".join(f"{n} {name}" for name, n in rows["finding"].value_counts().sort_index().items())
    return [f"{len(rows)} {kind}s are copies of {rows['group'].nunique()}: {found}; see {path}"]


def write(rows: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(path, index=False, lineterminator="\n", columns=list(COLUMNS))


def read(path: Path) -> pd.DataFrame:
    """As written."""
    return pd.read_csv(path, dtype={name: str for name in COLUMNS if name != "group"}, keep_default_na=False)
