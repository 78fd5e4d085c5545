"""Copies of one image: the same bytes, or perceptual hashes that differ in a few bits of 256 and the same colours.

A hash is of luminance alone, and of its pattern: a shirt photographed in red and in blue, in white and in grey, has
one. Two such pictures are no copies, whatever their labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from graft.errors import DataError, listing

IDENTICAL, NEAR = "identical", "near"

COLUMNS = ("group", "kind", "finding", "path", "label", "split")
BANDS = 16
"""Bands of 16 bits in a hash. Hashes that differ in fewer bits than there are bands agree in one of them."""


LIGHTER, COLOURED = 48, 12
"""Levels, of 255, by which no place of a copy is lighter or darker, and by which none has another Cb, Cr.

Of 300 product photos no copy saved as JPEG of quality 20, made smaller, 10 % brighter or 5 % warmer went beyond 23 and
11; with the middle in another full colour, 99 of 100 went beyond 14 in Cb, Cr.
"""


def groups(sha256s: Sequence[str], hashes: Sequence[bytes], colours: Sequence[bytes], distance: int) -> np.ndarray:
    """(n,) int64: images with the same number are copies of one, directly or through others.

    hashes, colours: as in `Verdict`; none of both where an image is compared by its bytes only. distance: bits, below
    BANDS.
    """
    n = len(sha256s)
    _, content = np.unique(np.asarray(sha256s, dtype=object).astype(str), return_inverse=True)
    first = _first(content)
    edges = [np.stack([np.arange(n), first[content]], axis=1)]
    comparable = np.array([i for i in first if hashes[i]], np.int64)
    if len(comparable):
        same, distinct = pd.factorize(np.array([hashes[i] + colours[i] for i in comparable], object))
        looks = np.frombuffer(b"".join(distinct), np.uint8).reshape(len(distinct), -1)
        words, seen = np.ascontiguousarray(looks[:, :32]).view(np.uint64), looks[:, 32:].reshape(len(distinct), -1, 3)
        near = _joined(len(distinct), _near(words, seen, distance))[same]
        edges.append(np.stack([comparable, comparable[_first(near)[near]]], axis=1))
    return _joined(n, np.concatenate(edges))


def _first(numbers: np.ndarray) -> np.ndarray:
    """(k,) int64: where each of the numbers 0 to k - 1 stands first."""
    first = np.full(numbers.max(initial=-1) + 1, len(numbers))
    np.minimum.at(first, numbers, np.arange(len(numbers)))
    return first


def _joined(n: int, edges: np.ndarray) -> np.ndarray:
    """(n,) int64 number of the component that each node is in. edges: (m, 2)."""
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _near(words: np.ndarray, colours: np.ndarray, distance: int) -> np.ndarray:
    """(m, 2) pairs of rows that join all rows whose `words`, (n, 4) uint64, are at most `distance` bits apart, and
    whose `colours`, (n, places, 3) uint8 YCbCr, are the same.

    Rows that are joined already through others are not compared again, so that many that are all alike take little
    memory and time.
    """
    bands = words.view(np.uint16).reshape(len(words), BANDS)
    found = np.empty((0, 2), np.int64)
    joined = np.arange(len(words))
    for band in range(BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        values = bands[order, band]
        starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
        run = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(words)]))
        ahead, rows = 1, np.arange(len(words))
        new: list[np.ndarray] = []
        while True:  # compare each row with the one `ahead` places on, as long as they share the band
            rows = rows[rows + ahead < len(words)]
            rows = rows[run[rows] == run[rows + ahead]]
            if not len(rows):
                break
            left, right = order[rows], order[rows + ahead]
            apart = joined[left] != joined[right]
            left, right = left[apart], right[apart]
            pairs = np.stack([left, right], axis=1)
            pairs = pairs[np.bitwise_count(words[left] ^ words[right]).sum(axis=1) <= distance]
            new.append(pairs[_same_colours(colours[pairs[:, 0]], colours[pairs[:, 1]])])
            ahead += 1
            if ahead.bit_count() == 1:  # now and then; and where all that share the band are joined, they are done
                found, joined, new = _merged(found, new, len(words))
                ordered = joined[order]
                several = np.minimum.reduceat(ordered, starts) != np.maximum.reduceat(ordered, starts)
                rows = rows[several[run[rows]]]
        found, joined, _ = _merged(found, new, len(words))
    return found


def _merged(found: np.ndarray, new: list[np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Edges with the new ones, as few as join the same rows; the component of each row; no new ones."""
    joined = _joined(n, np.concatenate([found, *new]))
    edges = np.stack([np.arange(n), _first(joined)[joined]], axis=1)
    return edges[edges[:, 0] != edges[:, 1]], joined, []


def _same_colours(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(n,) bool of pairs of pictures, (n, places, 3) uint8 YCbCr."""
    apart = left.astype(np.int32) - right
    alike = (abs(apart[..., 0]) <= LIGHTER) & ((apart[..., 1:] ** 2).sum(axis=-1) <= COLOURED**2)
    return np.asarray(alike.all(axis=-1))


def conflicts(usable: pd.DataFrame) -> np.ndarray:
    """(n,) object: IDENTICAL where an image's bytes have another label too, NEAR where only a near copy has, or ""."""
    same_bytes = usable.groupby("sha256")["label"].transform("nunique") > 1
    return np.where(same_bytes, IDENTICAL, np.where(differing(usable, "label"), NEAR, "")).astype(object)


def differing(usable: pd.DataFrame, column: str) -> np.ndarray:
    """(n,) bool: images with a copy that has another value in `column`: another label, another official side."""
    return np.asarray(usable.groupby("copies")[column].transform("nunique") > 1)


def require_apart(rows: pd.DataFrame) -> None:
    """Raises DataError where copies are on several sides of an official split. rows: as `table` gives them."""
    leaking = rows[rows["finding"] == "across splits"]
    if len(leaking):
        shown = (f"{path} ({side})" for path, side in zip(leaking["path"], leaking["split"], strict=True))
        raise DataError(
            f"data.duplicates.across_splits: fail, and {len(leaking)} images have copies on another side of the "
            f"official split: {listing(shown, 6)}. Remove them, or set it to keep_together. "
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
