"""Copies of one image: the same bytes, or perceptual hashes that differ in a few bits of 256."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

COLUMNS = ("group", "kind", "finding", "path", "label", "split")
BANDS = 16
"""Of 16 bits. Hashes that differ in fewer bits than there are bands agree in one of them."""


def groups(sha256s: Sequence[str], hashes: Sequence[bytes], distance: int) -> np.ndarray:
    """(n,) int64: images with the same number are copies of one, directly or through others.

    hashes: 32 bytes each, or none where an image is compared by its bytes only. distance: bits, below BANDS.
    """
    n = len(sha256s)
    _, content = np.unique(np.asarray(sha256s, dtype=object).astype(str), return_inverse=True)
    first = np.full(content.max(initial=-1) + 1, n)
    np.minimum.at(first, content, np.arange(n))
    pairs = [np.stack([np.arange(n), first[content]], axis=1)]
    comparable = np.array([i for i in first if hashes[i]], np.int64)
    if len(comparable):
        words = np.frombuffer(b"".join(hashes[i] for i in comparable), np.uint64).reshape(-1, 4)
        pairs.append(comparable[_near(words, distance)])
    edges = np.concatenate(pairs)
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _near(words: np.ndarray, distance: int) -> np.ndarray:
    """(m, 2) pairs of rows of `words`, (n, 4) uint64, that differ in at most `distance` bits."""
    bands = words.view(np.uint16).reshape(len(words), BANDS)
    found = [np.empty((0, 2), np.int64)]
    for band in range(BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        values = bands[order, band]
        ahead, rows = 1, np.arange(len(words))
        while True:  # compare each row with the one `ahead` places on, as long as they share the band
            rows = rows[rows + ahead < len(words)]
            rows = rows[values[rows] == values[rows + ahead]]
            if not len(rows):
                break
            left, right = order[rows], order[rows + ahead]
            bits = np.bitwise_count(words[left] ^ words[right]).sum(axis=1)
            close = bits <= distance
            found.append(np.stack([left[close], right[close]], axis=1))
            ahead += 1
    return np.concatenate(found)


def conflicting(used: pd.DataFrame, group: np.ndarray) -> np.ndarray:
    """(n,) bool: images with a copy that has another label."""
    labels = used["label"].groupby(group).transform("nunique")
    return np.asarray(labels > 1)


def table(usable: pd.DataFrame, sides: np.ndarray, across: np.ndarray) -> pd.DataFrame:
    """COLUMNS, a row per image that has copies, groups numbered from 1.

    usable: path, sha256, label, copies. sides: (n,) split of each, "" where it has none. across: (n,) bool, whether
    its copies are on several sides of an official split.
    finding: conflicting labels, across splits, or within a split.
    """
    rows = usable[["path", "sha256", "label", "copies"]].assign(split=sides, across=across)
    by_group = rows.groupby("copies")
    rows = rows[by_group["path"].transform("size") > 1]
    by_group = rows.groupby("copies")
    conflict = by_group["label"].transform("nunique") > 1
    leaking = by_group["across"].transform("any")
    rows = rows.assign(
        kind=np.where(by_group["sha256"].transform("nunique") == 1, "identical", "near"),
        finding=np.where(conflict, "conflicting labels", np.where(leaking, "across splits", "within a split")),
        group=pd.factorize(rows["copies"])[0] + 1,
    )
    return rows.sort_values("group", kind="stable")[list(COLUMNS)]


def counts(rows: pd.DataFrame) -> dict[str, int]:
    """Images that have copies, by kind and by finding."""
    return {
        name.replace(" ", "_"): int((rows[column] == name).sum())
        for column, names in (
            ("kind", ("identical", "near")),
            ("finding", ("within a split", "across splits", "conflicting labels")),
        )
        for name in names
    }


def lines(rows: pd.DataFrame, path: Path) -> list[str]:
    """What to tell of copies."""
    if not len(rows):
        return []
    found = ", ".join(f"{n} {name}" for name, n in rows["finding"].value_counts().sort_index().items())
    return [f"{len(rows)} images are copies of {rows['group'].nunique()}: {found}; see {path}"]


def write(rows: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(path, index=False, lineterminator="\n", columns=list(COLUMNS))


def read(path: Path) -> pd.DataFrame:
    """As written."""
    return pd.read_csv(path, dtype={name: str for name in COLUMNS if name != "group"}, keep_default_na=False)
