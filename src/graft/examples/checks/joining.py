"""Which examples are copies, directly or through others: pairs become groups, and few pairs are looked at for it.

Each example has a few keys, its bands, that two copies have one of in common. Only those that share a band are
compared (Indyk and Motwani, Approximate nearest neighbors, 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Alike = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Rows of the left and of the right of (n,) pairs -> (n,) bool, whether they are copies."""


Pairs = Callable[[np.ndarray], np.ndarray]
"""Numbers of examples, (k,) -> (m, 2) places in them that join all that are nearly the same."""


def groups(sha256s: Iterable[str], looks: Sequence[bytes], pairs: Pairs) -> np.ndarray:
    """(n,) int64: examples with the same number are copies of one, directly or through others.

    looks: examples of the same ones are copies; b"" where an example is compared by its bytes only. pairs: is asked of
    one example of each look.
    """
    n = len(looks)
    content, _ = pd.factorize(pd.Series(sha256s, dtype=str))
    of_content = first(content)
    edges = [np.stack([np.arange(n), of_content[content]], axis=1)]
    comparable = np.array([i for i in of_content if looks[i]], np.int64)
    if len(comparable):
        same, _ = pd.factorize(np.array([looks[i] for i in comparable], object))
        chosen = comparable[first(same)]
        close = joined(len(chosen), pairs(chosen))[same]
        edges.append(np.stack([comparable, comparable[first(close)[close]]], axis=1))
    return joined(n, np.concatenate(edges))


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
        starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
        run = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, n]))
        ahead, rows = 1, np.arange(n)
        new: list[np.ndarray] = []
        while True:  # compare each row with the one `ahead` places on, as long as they share the band
            rows = rows[rows + ahead < n]
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
    edges = np.stack([np.arange(n), first(component)[component]], axis=1)
    return edges[edges[:, 0] != edges[:, 1]], component, []
