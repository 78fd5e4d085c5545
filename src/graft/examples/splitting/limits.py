"""How many images of a class there may be on a side."""

from __future__ import annotations

import numpy as np
import pandas as pd

from graft.errors import DataError, listing
from graft.examples.catalogue import kind_of
from graft.examples.split import UNUSED
from graft.examples.splitting import units


def trimmed(
    used: pd.DataFrame, sides: pd.Series, unit: np.ndarray, ranked: pd.DataFrame, most: dict[str, int]
) -> pd.Series:
    """sides with no more than `most` images of a class on each; so a unit may be used in part."""
    place = pd.Series(range(len(ranked)), ranked.index).reindex(unit).to_numpy()
    rows = pd.DataFrame(
        {"label": used["label"], "side": sides, "place": place, "sha256": used["sha256"], "path": used["path"]}
    )
    nth = rows.sort_values(["place", "sha256", "path"]).groupby(["label", "side"]).cumcount().reindex(used.index)
    return sides.where(nth < sides.map(most).fillna(len(used)), UNUSED)


def require_counts(used: pd.DataFrame, sides: pd.Series, wanted: dict[str, int]) -> None:
    found = pd.crosstab(used["label"], sides).reindex(columns=list(wanted), fill_value=0)
    kind = kind_of(used)
    short = [
        f"{label} ({int((used['label'] == label).sum())} {kind}s, {wanted[name] - n} too few for {name})"
        for label in found.index
        for name, n in zip(wanted, found.loc[label], strict=True)
        if n < wanted[name]
    ]
    if short:
        raise DataError(
            f"data.split.counts: every class must have {' + '.join(map(str, wanted.values()))} {kind}s for "
            f"{', '.join(wanted)}, and copies and groups stay together. Too small: {listing(short)}. Lower the counts, "
            "or leave small classes out with data.min_images_per_class."
        )


def few_shot(used: pd.DataFrame, copies: np.ndarray, sides: pd.Series, n: int, seed: int) -> pd.Series:
    """sides with the first n training images of each class and no others, in an order that the seed draws.

    Fewer are a part of more. used, copies: as `make_split` takes them. sides: of each used image. The others' is
    UNUSED.
    """
    return _first(used, sides, units.of(copies, used["group"]), n, seed)


def _first(used: pd.DataFrame, sides: pd.Series, unit: np.ndarray, n: int, seed: int) -> pd.Series:
    training = (sides == "train").to_numpy()
    kept = sides.copy()
    kept[training] = trimmed(
        used[training],
        sides[training],
        unit[training],
        units.ranked(used[training], unit[training], seed + 1),
        {"train": n},
    )
    return kept


def few_training(
    used: pd.DataFrame, sides: pd.Series, unit: np.ndarray, n: int, seed: int, notes: list[str]
) -> pd.Series:
    kept = _first(used, sides, unit, n, seed)
    found = used.loc[(kept == "train").to_numpy(), "label"].value_counts().sort_index()
    short = [f"{label} ({count})" for label, count in found.items() if count < n]
    if short:
        notes.append(f"fewer than data.split.few_shot: {n} training {kind_of(used)}s in: {listing(short)}")
    return kept
