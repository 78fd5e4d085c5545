"""Labels as the user wants them: `data.classes` maps, merges, keeps and drops them; classes may be limited in size."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from graft.errors import DataError, listing, unknown
from graft.examples.sources.base import LEFT_OUT, QUARANTINED, Item, Items, Problem, listed

SAME = "*"
"""As a class of `data.classes`: labels keep their names."""

DROPPED = "-"
"""As a class of `data.classes`: images are left out."""

Classes = Mapping[str, str | list[str]]


def assign(items: Items, classes: Classes | None) -> Items:
    """Items with the label of their class; those of labels that are dropped, or in no class, are left out.

    Raises DataError where `classes` names a label that does not exist, or two classes differ in case only.
    """
    both = zip(items.columns["label"], items.columns["problem"], strict=True)
    usable = {label for label, problem in both if problem is None}
    if classes is None:
        _require_distinct(usable)
        return items
    named = _names(sorted(filter(None, items.columns["label"].distinct)), classes)
    _require_distinct({named[label] for label in usable if named.get(label)})

    def assigned(item: Item) -> Item:
        name = named.get(item.label, "")
        problem = item.problem
        if item.label and not name and (problem is None or problem.state == QUARANTINED):
            problem = Problem(LEFT_OUT, "label not in data.classes", item.label)
        return replace(item, label=name or item.label, problem=problem)

    return listed(map(assigned, items))


def _names(labels: Sequence[str], classes: Classes) -> dict[str, str]:
    """label -> its class, "" for none. The label itself is tried first, then patterns in their order, "*" last."""
    patterns = [(pattern, name) for name, given in classes.items() for pattern in _listed(given)]
    exact = {pattern: name for pattern, name in patterns if "*" not in pattern}
    wild = sorted(((p, n) for p, n in patterns if "*" in p), key=lambda pair: pair[0] == "*")
    for pattern, name in exact.items():
        if pattern not in labels:
            raise DataError(f"data.classes: {name!r}: a label {unknown(pattern, labels)}")
    for pattern, name in wild:
        if not any(_matches(label, pattern) for label in labels):
            raise DataError(f"data.classes: {name!r}: {pattern!r} must match a label. Labels: {listing(labels, 12)}.")
    named = {}
    for label in labels:
        name = exact.get(label) or next((n for p, n in wild if _matches(label, p)), DROPPED)
        named[label] = label if name == SAME else "" if name == DROPPED else name
    return named


def _matches(label: str, pattern: str) -> bool:
    """Only the asterisk is special: a label may have brackets and question marks."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), label, re.DOTALL) is not None


def _listed(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


def _require_distinct(names: set[str]) -> None:
    if scripts := [name for name in sorted(names) if "</script" in name.casefold()]:
        raise DataError(
            f"data.path: a class must not be called {scripts[0]!r}: DVC's page of plots would take it for the end of "
            'its program. Rename it with data.classes: {"another name": ' + repr(scripts[0]) + ', "*": "*"}.'
        )
    by_folded: dict[str, list[str]] = {}
    for name in sorted(names):
        by_folded.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    for same in by_folded.values():
        if len(same) > 1:
            raise DataError(
                f"data.path: classes must differ in more than case. Got {' and '.join(map(repr, same))}. "
                f'Rename one, or merge them: data.classes: {{{same[-1]}: [{", ".join(same)}], "*": "*"}}.'
            )


def look_alike(names: Sequence[str]) -> list[str]:
    """A note where names differ only in blanks, in characters that show nothing, or in a wide or other form of them."""
    by_look: dict[str, list[str]] = {}
    for name in names:
        seen = "".join(one for one in unicodedata.normalize("NFKC", name) if unicodedata.category(one) != "Cf")
        by_look.setdefault(" ".join(seen.split()).casefold(), []).append(name)
    return [
        f"classes that look alike: {' and '.join(map(_spelled_out, same))}. If they are one, rename one, or merge them "
        "with data.classes"
        for same in by_look.values()
        if len(same) > 1
    ]


def _spelled_out(name: str) -> str:
    """In quotes, with escapes for what does not look like itself: as YAML takes it in data.classes."""
    return '"' + "".join(_escaped(one) if _deceives(one) else one for one in name) + '"'


def _deceives(character: str) -> bool:
    return unicodedata.normalize("NFKC", character) != character or unicodedata.category(character) == "Cf"


def _escaped(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) < 2**16 else f"\\U{ord(character):08x}"


def too_small(used: pd.DataFrame, least: int) -> pd.Series:
    """Whether an image's class has fewer than `least` images."""
    return used["label"].map(used["label"].value_counts()) < least


def too_many(used: pd.DataFrame, most: int | None) -> pd.Series:
    """Whether an image is beyond the `most` of its class, in the order of sha256, which no seed changes."""
    if most is None:
        return pd.Series(False, index=used.index)
    order = used.sort_values(["sha256", "path"]).groupby("label").cumcount()
    return (order >= most).reindex(used.index)
