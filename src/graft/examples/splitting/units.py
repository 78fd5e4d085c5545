"""What must stay together: copies, and images of a group; and the order in which it is dealt out."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.sparse import coo_array


def of(copies: np.ndarray, groups: pd.Series) -> np.ndarray:
    """(n,) int64: number of each image's unit: copies, and images of a group, directly or through others."""
    from scipy.sparse.csgraph import connected_components  # which takes a while

    n, offset = len(copies), int(copies.max(initial=-1)) + 1
    named = np.flatnonzero((groups != "").to_numpy())
    members = pd.factorize(groups.to_numpy()[named])[0]
    size = offset + (int(members.max(initial=-1)) + 1)
    edges = coo_array((np.ones(len(named), np.int8), (copies[named], offset + members)), shape=(size, size))
    component = connected_components(edges, directed=False)[1]
    return np.asarray(component[copies], np.int64) if n else np.empty(0, np.int64)


def ranked(used: pd.DataFrame, unit: np.ndarray, seed: int) -> pd.DataFrame:
    """A row per unit, in the order of its hash within its class: label (its commonest) and n (images), by number."""
    alone = ~pd.Series(unit).duplicated(keep=False).to_numpy()  # as nearly all are: nothing is made of their columns
    joined = _joined(used[~alone], unit[~alone])
    numbers = np.concatenate([unit[alone], joined.index])
    keys = itertools.chain(itertools.compress(_keys(used), alone), joined["key"])
    ranks = np.fromiter((hashlib.sha256(f"{seed}:{key}".encode()).digest() for key in keys), "S32", len(numbers))
    labels, classes = pd.factorize(used["label"], sort=True)
    of_units = np.concatenate([labels[alone], classes.get_indexer(pd.Index(joined["label"]))])
    n = np.concatenate([np.ones(alone.sum(), np.int64), joined["n"]])
    order = np.lexsort((ranks, of_units))
    return pd.DataFrame({"label": classes.take(of_units[order]), "n": n[order]}, index=numbers[order])


def _keys(used: pd.DataFrame) -> Iterator[str]:
    """By which a unit is ranked: the group of an image that has one, else its content."""
    return (group or sha256 for group, sha256 in zip(used["group"], used["sha256"], strict=True))


def _joined(used: pd.DataFrame, unit: np.ndarray) -> pd.DataFrame:
    """label, key and n of units of several images, by the unit's number; a group's name comes before any content."""
    rows = used[["label"]].assign(unit=unit, key=list(_keys(used)), grouped=used["group"] != "")
    in_group = rows["grouped"].groupby(unit).transform("any")
    key = rows["key"][rows["grouped"] | ~in_group].groupby(rows["unit"]).min()
    common = rows.groupby(["unit", "label"]).size().rename("n").reset_index()
    common = common.sort_values(["n", "label"], ascending=[False, True]).drop_duplicates("unit").set_index("unit")
    return pd.DataFrame({"label": common["label"], "key": key, "n": rows.groupby("unit").size()})
