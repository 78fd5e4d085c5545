"""Ways to split: from units in their order to a side of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from graft.examples.split import UNUSED

if TYPE_CHECKING:
    from graft.config.data import SplitParams


def _none_yet(units: pd.DataFrame) -> np.ndarray:
    """(k,) object: room for a side of each unit, at its number."""
    return np.empty(units.index.max() + 1 if len(units) else 0, object)


def _take(sizes: Sequence[int], order: Sequence[int], wanted: int, leave: int) -> set[int]:
    """Positions from `order` until `wanted` images are reached; at least `leave` positions are not taken.

    A unit larger than what is still wanted is passed over; where there are only such, the smallest one is taken.
    """
    taken: set[int] = set()
    for position in order:
        if wanted <= 0 or len(order) - len(taken) <= leave:
            break
        if sizes[position] <= wanted:
            taken.add(position)
            wanted -= sizes[position]
    if not taken and wanted > 0 and len(order) > leave:
        taken.add(min(order, key=lambda position: sizes[position]))
    return taken


def _fractions(units: pd.DataFrame, p: SplitParams) -> np.ndarray:
    return cut(units, p.fractions.model_dump())


def cut(units: pd.DataFrame, fractions: Mapping[str, float]) -> np.ndarray:
    """fractions: of train and of what is to be cut; proportions, not necessarily adding up to 1.

    A class of one unit trains; one of two trains and tests; from three on, each part has at least one.
    """
    sides = _none_yet(units)
    held_out = [name for name in ("test", "validation") if fractions.get(name)]
    total = sum(fractions.values())
    for _, rows in units.groupby("label", sort=True):
        numbers, sizes = list(rows.index), list(rows["n"])
        left = list(range(len(numbers)))
        sides[numbers] = "train"
        for i, name in enumerate(held_out):
            wanted = max(1, round(sum(sizes) * fractions[name] / total))
            still_to_fill = min(len(held_out) - i, len(left) - 1)
            taken = _take(sizes, left if name == "test" else left[::-1], wanted, max(still_to_fill, 1))
            sides[[numbers[position] for position in taken]] = name
            left = [position for position in left if position not in taken]
    return sides


def _counts(units: pd.DataFrame, p: SplitParams) -> np.ndarray:
    """Units until the counts are reached, whole ones first; `limits.trimmed` takes off what one has too much."""
    sides = _none_yet(units)
    for _, rows in units.groupby("label", sort=True):
        numbers, sizes = list(rows.index), list(rows["n"])
        sides[numbers] = UNUSED
        left = list(range(len(numbers)))
        for name, order in (("test", 1), ("validation", -1), ("train", 1)):
            taken = _reach(sizes, left[::order], getattr(p.counts, name))
            sides[[numbers[position] for position in taken]] = name
            left = [position for position in left if position not in taken]
    return sides


def _reach(sizes: Sequence[int], order: Sequence[int], wanted: int) -> set[int]:
    """Positions of units that together have at least `wanted` images, with as few too many as their order allows."""
    taken = _take(sizes, order, wanted, 0)
    missing = wanted - sum(sizes[position] for position in taken)
    rest = [position for position in order if position not in taken]
    while missing > 0 and rest:
        smallest = min(rest, key=lambda position: sizes[position])
        rest.remove(smallest)
        taken.add(smallest)
        missing -= sizes[smallest]
    return taken


def _folds(units: pd.DataFrame, p: SplitParams) -> np.ndarray:
    """Folds are blocks of the order with as many images each, so that added images move few others."""
    k, n = p.fold_of
    part = {k - 1: "test", k % n: "validation"}
    sides = _none_yet(units)
    for _, rows in units.groupby("label", sort=True):
        before = rows["n"].cumsum() - rows["n"]
        fold = (before * n // rows["n"].sum()).astype(int)
        of_class = {number: part.get(f, "train") for number, f in zip(rows.index, fold, strict=True)}
        for held_out in ("validation", "test"):  # a class too small for this fold trains rather than fail it
            if "train" not in of_class.values():
                of_class = {number: "train" if side == held_out else side for number, side in of_class.items()}
        sides[list(of_class)] = list(of_class.values())
    return sides


METHODS: dict[str, Callable[[pd.DataFrame, SplitParams], np.ndarray]] = {
    "fractions": _fractions,
    "counts": _counts,
    "folds": _folds,
}
"""Ways to split: units as `units.ranked` gives them -> side of each, at its number. An official one is used as is."""
