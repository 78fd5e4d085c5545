"""Which examples are copies, directly or through others: pairs become groups, and few pairs are looked at for it.

Each example has a few keys, its bands, that two copies have one of in common. Only those that share a band are
compared (Indyk and Motwani, Approximate nearest neighbors, 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from graft.runtime import memory

Alike = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Rows of the left and of the right of (n,) pairs -> (n,) bool, whether they are copies."""


Pairs = Callable[[np.ndarray], np.ndarray]
"""Places among the examples that can be compared, (k,) -> (m, 2) places in these that join all nearly the same."""


def groups(sha256s: Iterable[str], comparable: np.ndarray, pairs: Pairs) -> np.ndarray:
    """(n,) int64: examples with the same number are copies of one, directly or through others.

    comparable: (k,) numbers of the examples that are not compared by their bytes only. pairs: is asked of one of them
    for each content.
    """
    content = pd.factorize(pd.Series(sha256s, dtype=str))[0]
    memory.give_back()
    again = _leads(content[comparable])[:, 0]
    chosen = np.delete(np.arange(len(comparable)), again)
    close = pairs(chosen) if len(chosen) else np.empty((0, 2), np.int64)
    return joined(len(content), np.concatenate([_leads(content), comparable[chosen][close]]))


def _leads(numbers: np.ndarray) -> np.ndarray:
    """(m, 2): each place whose number stands before it already, and the first place of that number."""
    lead = first(numbers)[numbers]
    places = np.flatnonzero(lead != np.arange(len(numbers)))
    return np.stack([places, lead[places]], axis=1)


def first(numbers: np.ndarray) -> np.ndarray:
    """(k,) int64: where each of the numbers 0 to k - 1 stands first."""
    places = np.full(numbers.max(initial=-1) + 1, len(numbers))
    np.minimum.at(places, numbers, np.arange(len(numbers)))
    return places


def joined(n: int, edges: np.ndarray) -> np.ndarray:
    """(n,) int64 number of the component that each node is in. edges: (m, 2)."""
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def near(n: int, bands: Iterable[np.ndarray], alike: Alike) -> np.ndarray:
    """(m, 2) pairs of n rows that join all rows that have a band in common and are alike. bands: (n,) integers each.

    Rows that are joined already through others are not compared again, so that many that are all alike take little
    memory and time.
    """
    found = np.empty((0, 2), np.int64)
    component = np.arange(n)
    for band in bands:
        order = np.argsort(band, kind="stable")
        values = band[order]
        same = values[1:] == values[:-1]
        shared = np.append(same, False) | np.insert(same, 0, False)
        order, values = order[shared], values[shared]
        starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
        run = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(order)]))
        ahead, rows = 1, np.arange(len(order))
        new: list[np.ndarray] = []
        while True:  # compare each row with the one `ahead` places on, as long as they share the band
            rows = rows[rows + ahead < len(order)]
            rows = rows[run[rows] == run[rows + ahead]]
            if not len(rows):
                break
            left, right = order[rows], order[rows + ahead]
            apart = component[left] != component[right]
            left, right = left[apart], right[apart]
            new.append(np.stack([left, right], axis=1)[alike(left, right)])
            ahead += 1
            if ahead.bit_count() == 1:  # now and then; and where all that share the band are joined, they are done
                found, component, new = _merged(found, new, n)
                ordered = component[order]
                several = np.minimum.reduceat(ordered, starts) != np.maximum.reduceat(ordered, starts)
                rows = rows[several[run[rows]]]
        if any(map(len, new)):
            found, component, _ = _merged(found, new, n)
    return found


def _merged(found: np.ndarray, new: list[np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Edges with the new ones, as few as join the same rows; the component of each row; no new ones."""
    component = joined(n, np.concatenate([found, *new]))
    return _leads(component), component, []
