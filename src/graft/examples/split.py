"""Which images train, validate and test: a CSV with the columns path, label, split, and weight and group where given.

What must stay together (copies of one image, a group) is a unit. The units of a class are ordered by a hash of the
seed and their content and cut from both ends: test from the front, validation from the back. So a unit's side depends
on its content, the seed and its class's size; added images move few others, and none between validation and test.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import coo_array

from graft.errors import DataError, StaleError, listing
from graft.examples.catalogue import kind_of
from graft.examples.compact import from_csv
from graft.examples.sources.base import SPLITS, SplitName

if TYPE_CHECKING:
    from graft.config.data import SplitParams

COLUMNS = ("path", "label", "split")
OPTIONAL_COLUMNS = ("weight", "group")
UNUSED = "unused"
"""The side of images that are in no part: beyond the counts, beyond few_shot, or copies of held-out ones."""

ENOUGH, FAR = 20, 0.1
"""From so many images on, a class whose share of a part is so far from the fraction is worth a word."""

RARE = 50
"""A class this many times smaller than the commonest is worth a word."""


def make(used: pd.DataFrame, copies: np.ndarray, p: SplitParams, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """The split of the used images, and what a user should know about it.

    used: path, label, sha256, official (a SplitName or None), group ("" for none), weight. copies: (n,), images with
    the same number are copies of one. The table has COLUMNS, and OPTIONAL_COLUMNS where the source gives them.
    Raises DataError where the source or a class cannot give what `p` asks for.
    """
    unit = _units(copies, used["group"])
    official = used["official"].where(used["official"].notna(), None)
    method = _method(p, list(official))
    notes: list[str] = []
    kind = kind_of(used)
    if method == "official":
        sides = _official(used, official, unit, p, seed, notes)
    else:
        if official.notna().any():
            notes.append(f"the source's official split is not used, since data.split.method is {p.method}")
        ranked = _ranked(used, unit, seed)
        side_of = METHODS[method](ranked, p)
        sides = pd.Series(side_of[unit], index=used.index, dtype=object)
        if method == "counts":
            wanted = p.counts.model_dump()
            sides = _trim(used, sides, unit, ranked, wanted)
            _require_counts(used, sides, wanted)
        if method == "fractions":
            notes += _far_from(used, sides, p.fractions.model_dump())
    if method == "counts" and (beyond := int((sides == UNUSED).sum())):
        most = sum(p.counts.model_dump().values())
        notes.append(
            f"{beyond} {kind}s are beyond data.split.counts: unused, though their features are computed. "
            f"data.max_images_per_class: {most} leaves them out"
        )
    if p.few_shot is not None:
        sides = _few_shot(used, sides, unit, p.few_shot, seed, notes)
    table = pd.DataFrame({"path": used["path"], "label": used["label"], "split": sides})
    if (used["weight"] != 1).any():
        table["weight"] = used["weight"]
        if not used.loc[sides == "train", "weight"].any():
            raise DataError(f"data.manifest.columns.weight: must be above 0 for some training {kind}s. Got 0 for all.")
    if (used["group"] != "").any():
        table["group"] = used["group"]
    return table, notes + _remarks(table, kind)


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


def _units(copies: np.ndarray, groups: pd.Series) -> np.ndarray:
    """(n,) int64: number of each image's unit: copies, and images of a group, directly or through others."""
    from scipy.sparse.csgraph import connected_components  # which takes a while, and only `prepare` needs it

    n, offset = len(copies), int(copies.max(initial=-1)) + 1
    named = np.flatnonzero((groups != "").to_numpy())
    members = pd.factorize(groups.to_numpy()[named])[0]
    size = offset + (int(members.max(initial=-1)) + 1)
    edges = coo_array((np.ones(len(named), np.int8), (copies[named], offset + members)), shape=(size, size))
    component = connected_components(edges, directed=False)[1]
    return np.asarray(component[copies], np.int64) if n else np.empty(0, np.int64)


def _ranked(used: pd.DataFrame, unit: np.ndarray, seed: int) -> pd.DataFrame:
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
    return _cut(units, p.fractions.model_dump())


def _cut(units: pd.DataFrame, fractions: Mapping[str, float]) -> np.ndarray:
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
    """Units until the counts are reached, whole ones first; `_trim` takes off what one has too much."""
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


def _trim(
    used: pd.DataFrame, sides: pd.Series, unit: np.ndarray, ranked: pd.DataFrame, most: dict[str, int]
) -> pd.Series:
    """sides with no more than `most` images of a class on each; so a unit may be used in part."""
    place = pd.Series(range(len(ranked)), ranked.index).reindex(unit).to_numpy()
    rows = pd.DataFrame(
        {"label": used["label"], "side": sides, "place": place, "sha256": used["sha256"], "path": used["path"]}
    )
    nth = rows.sort_values(["place", "sha256", "path"]).groupby(["label", "side"]).cumcount().reindex(used.index)
    return sides.where(nth < sides.map(most).fillna(len(used)), UNUSED)


def _require_counts(used: pd.DataFrame, sides: pd.Series, wanted: dict[str, int]) -> None:
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
"""Ways to split: units as `_ranked` gives them -> side of each, at its number. An official split is used as it is."""


def _official(
    used: pd.DataFrame, official: pd.Series, unit: np.ndarray, p: SplitParams, seed: int, notes: list[str]
) -> pd.Series:
    """The source's split. Held-out parts stay as published: where a unit is in several, only its images in the
    foremost of test, validation, train are used. Parts that the source lacks are cut from train."""
    unplaced, kind = official.isna(), kind_of(used)
    if unplaced.any():
        notes.append(f"{int(unplaced.sum())} {kind}s are in no part of the official split: unused")
    order = {name: i for i, name in enumerate(("test", "validation", "train", UNUSED))}
    place = official.where(~unplaced, UNUSED).map(order)
    back = (place != place.groupby(unit).transform("min")) & ~unplaced
    sides = official.where(~unplaced & ~back, UNUSED).astype(object)
    if back.any():
        named = ", ".join(f"{n} of {name}" for name, n in official[back].value_counts().items())
        _require_own_training_examples(used["label"], official, sides, kind)
        notes.append(
            f"{int(back.sum())} {kind}s are copies, or of a group, of {kind}s on a side of the official split that is "
            f"further from training: unused ({named}): {listing(used['path'][back], 5)}"
        )
    parts = set(official.dropna())
    fractions: dict[str, float] = p.fractions.model_dump()
    missing = [name for name in SPLITS if name not in parts and fractions[name]]
    if missing == ["test"]:
        notes.append("official split without test, used whole: what the models are worth is judged on validation")
    elif missing:
        notes.append(f"official split without {' and '.join(missing)}: cut from train by data.split.fractions")
        pool = (sides == "train").to_numpy()
        cut = _cut(_ranked(used[pool], unit[pool], seed), {name: fractions[name] for name in ("train", *missing)})
        sides[pool] = cut[unit[pool]]
    return sides


def _require_own_training_examples(labels: pd.Series, official: pd.Series, sides: pd.Series, kind: str) -> None:
    """Raises DataError where all training examples of a class are copies of held-out ones."""
    given, kept = labels[official == "train"], set(labels[sides == "train"])
    none_left = given[~given.isin(kept)].value_counts().sort_index()
    if len(none_left):
        raise DataError(
            f"data.path: every class must have training {kind}s. All of the official training part are copies, or of a "
            f"group, of validation or test {kind}s, of "
            + listing(f"{label} ({n})" for label, n in none_left.items())
            + ". duplicates.csv beside the catalogue lists copies. Take them out of the held-out parts, add other "
            f"training {kind}s, or let graft split: data.split.method: fractions."
        )


def _far_from(used: pd.DataFrame, sides: pd.Series, fractions: dict[str, float]) -> list[str]:
    """Classes in which large units keep a part from its share."""
    shares = pd.crosstab(used["label"], sides, normalize="index").reindex(columns=list(fractions), fill_value=0)
    images = used["label"].value_counts()
    far = [
        f"{label} ({', '.join(f'{name} {shares.loc[label, name]:.2f}' for name in fractions)})"
        for label in shares.index
        if images[label] >= ENOUGH and (shares.loc[label] - pd.Series(fractions)).abs().max() > FAR
    ]
    if not far:
        return []
    return [f"far from data.split.fractions, since copies or groups stay together: {listing(far)}"]


def few_shot(used: pd.DataFrame, copies: np.ndarray, sides: pd.Series, n: int, seed: int) -> pd.Series:
    """sides with the first n training images of each class and no others, in an order that the seed draws.

    Fewer are a part of more. used, copies: as `make` takes them. sides: of each used image. The others' is UNUSED.
    """
    return _first(used, sides, _units(copies, used["group"]), n, seed)


def _first(used: pd.DataFrame, sides: pd.Series, unit: np.ndarray, n: int, seed: int) -> pd.Series:
    training = (sides == "train").to_numpy()
    kept = sides.copy()
    kept[training] = _trim(
        used[training], sides[training], unit[training], _ranked(used[training], unit[training], seed + 1), {"train": n}
    )
    return kept


def _few_shot(used: pd.DataFrame, sides: pd.Series, unit: np.ndarray, n: int, seed: int, notes: list[str]) -> pd.Series:
    kept = _first(used, sides, unit, n, seed)
    found = used.loc[(kept == "train").to_numpy(), "label"].value_counts().sort_index()
    short = [f"{label} ({count})" for label, count in found.items() if count < n]
    if short:
        notes.append(f"fewer than data.split.few_shot: {n} training {kind_of(used)}s in: {listing(short)}")
    return kept


def _remarks(table: pd.DataFrame, kind: str) -> list[str]:
    """One line per kind of trouble that a class is in. Raises DataError where a class has no training examples.

    kind: of the examples, for messages.
    """
    counts = pd.crosstab(table["label"], table["split"]).reindex(columns=[*SPLITS, UNUSED], fill_value=0)
    images = counts.sum(axis=1)
    untrained = counts.index[counts["train"] == 0]
    if len(untrained):
        raise DataError(
            f"data.path: every class must have training {kind}s. None for: {listing(untrained)}. "
            f"Add {kind}s, merge classes with data.classes, or drop them there."
        )
    notes = []
    single = counts.index[images == 1]
    if len(single):
        notes.append(
            f"one {kind} only, which trains and is never tested: {listing(single)}. Add {kind}s, merge with "
            "data.classes, or set data.min_images_per_class: 3"
        )
    for name in ("validation", "test"):
        lacking = counts.index[(counts[name] == 0) & (images > 1)]
        if len(lacking) == len(counts):
            notes.append(f"no {name} {kind}s at all")
        elif len(lacking):
            notes.append(
                f"no {name} {kind}s of: {listing(lacking)}. Its metrics say nothing of them; add {kind}s, merge with "
                "data.classes, or drop them there"
            )
    rare = [f"{label} ({n})" for label, n in images.items() if 1 < n < images.max() / RARE]
    if rare:
        notes.append(
            f"over {RARE} times rarer than {images.idxmax()} ({images.max()}): {listing(rare)}. Add {kind}s, merge "
            "with data.classes, set data.max_images_per_class, or weigh with class_weights: balanced"
        )
    return notes


def write(split: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [*COLUMNS, *(name for name in OPTIONAL_COLUMNS if name in split)]
    split.to_csv(path, index=False, lineterminator="\n", columns=columns)


@dataclass(frozen=True)
class Split:
    """rows: split -> row numbers in the catalogue's used images, int64, ascending.

    weights: (n,) float32, of each image's loss.
    """

    rows: dict[SplitName, np.ndarray]
    weights: np.ndarray


def read(path: Path, used: pd.DataFrame) -> Split:
    """Raises StaleError unless the split holds exactly the images of `used`."""
    rows: dict[SplitName, list[np.ndarray]] = {name: [np.empty(0, np.int64)] for name in SPLITS}
    weights = np.ones(len(used), np.float32)
    read = 0
    for batch in from_csv(path, ()):
        some, there = batch.to_pandas(), used.iloc[read : read + len(batch)]
        if len(there) < len(some) or any((some[name].array != there[name].array).any() for name in ("path", "label")):
            break
        for name, found in rows.items():
            found.append(read + np.flatnonzero(some["split"] == name))
        if "weight" in some:
            weights[read : read + len(some)] = some["weight"].to_numpy(np.float32)
        read += len(some)
    else:
        if read == len(used):
            return Split({name: np.concatenate(found) for name, found in rows.items()}, weights)
    raise StaleError(f"{path}: belongs to another catalogue. Run `dvc repro`.")


def targets(used: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """(n,) int64 class numbers of the catalogue's used images."""
    position = {name: i for i, name in enumerate(classes)}
    codes, labels = pd.factorize(used["label"])
    return np.array([position[label] for label in labels], np.int64)[codes]
