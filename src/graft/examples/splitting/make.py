"""By the method that the parameters ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from graft.errors import DataError
from graft.examples.catalogue import kind_of
from graft.examples.split import UNUSED
from graft.examples.splitting import limits, methods, remarks, units
from graft.examples.splitting.official import official_sides

if TYPE_CHECKING:
    from graft.config.data import SplitParams


def make_split(used: pd.DataFrame, copies: np.ndarray, p: SplitParams, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """The split of the used images, and what a user should know about it.

    used: path, label, sha256, official (a SplitName or None), group ("" for none), weight. copies: (n,), images with
    the same number are copies of one. The table has COLUMNS, and OPTIONAL_COLUMNS where the source gives them.
    Raises DataError where the source or a class cannot give what `p` asks for.
    """
    unit = units.of(copies, used["group"])
    official = used["official"].where(used["official"].notna(), None)
    method = _method(p, list(official))
    notes: list[str] = []
    kind = kind_of(used)
    if method == "official":
        sides = official_sides(used, official, unit, p, seed, notes)
    else:
        if official.notna().any():
            notes.append(f"the source's official split is not used, since data.split.method is {p.method}")
        ranked = units.ranked(used, unit, seed)
        side_of = methods.METHODS[method](ranked, p)
        sides = pd.Series(side_of[unit], index=used.index, dtype=object)
        if method == "counts":
            wanted = p.counts.model_dump()
            sides = limits.trimmed(used, sides, unit, ranked, wanted)
            limits.require_counts(used, sides, wanted)
        if method == "fractions":
            notes += remarks.far_from(used, sides, p.fractions.model_dump())
    if method == "counts" and (beyond := int((sides == UNUSED).sum())):
        most = sum(p.counts.model_dump().values())
        notes.append(
            f"{beyond} {kind}s are beyond data.split.counts: unused, though their features are computed. "
            f"data.max_images_per_class: {most} leaves them out"
        )
    if p.few_shot is not None:
        sides = limits.few_training(used, sides, unit, p.few_shot, seed, notes)
    table = pd.DataFrame({"path": used["path"], "label": used["label"], "split": sides})
    if (used["weight"] != 1).any():
        table["weight"] = used["weight"]
        if not used.loc[sides == "train", "weight"].any():
            raise DataError(f"data.manifest.columns.weight: must be above 0 for some training {kind}s. Got 0 for all.")
    if (used["group"] != "").any():
        table["group"] = used["group"]
    return table, notes + remarks.of(table, kind)


def _method(p: SplitParams, official: Sequence[str | None]) -> str:
    has_official = any(side is not None for side in official)
    if p.method == "official" and not has_official:
        raise DataError(
            "data.split.method: must be auto, fractions, counts or folds for a source without an official split. "
            "Got 'official'."
        )
    if p.method == "auto":
        return "official" if has_official else "fractions"
    return p.method
