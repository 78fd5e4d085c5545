"""Which examples two tables of predictions have in common, and what they do not share.

A table is that of `graft.evaluation.predictions`: model, split, path, label, prediction, one p:<class> per class; the
model that ships is the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

SPLITS = ("test", "validation")
"""Which split is compared where none is named: the first on which both models were judged."""

SCORE = "p:"


@dataclass(frozen=True)
class Matched:
    """split: what was compared. models: the name of A's and of B's that ships, None where there is none.

    table: a row per example that both judged under the same label: path, label, a, b (what each predicts), sorted by
    path. differences: a sentence for each thing that the two do not share.
    """

    split: str
    models: tuple[str | None, str | None]
    table: pd.DataFrame
    differences: Sequence[str]

    @property
    def a_right(self) -> pd.Series[bool]:
        return self.table["a"] == self.table["label"]

    @property
    def b_right(self) -> pd.Series[bool]:
        return self.table["b"] == self.table["label"]

    @property
    def changed(self) -> pd.DataFrame:
        """The examples that changed sides: those that B lost first, then those it gained."""
        lost, gained = self.a_right & ~self.b_right, self.b_right & ~self.a_right
        return pd.concat([self.table[lost], self.table[gained]])


def match(a: pd.DataFrame, b: pd.DataFrame, split: str | None) -> Matched:
    """The shipped models of two tables on a split of both; split None: the first of SPLITS that both have."""
    models = (_shipped(a), _shipped(b))
    of_a, of_b = (table[table["model"] == model] for table, model in zip((a, b), models, strict=True))
    both = [name for name in SPLITS if (of_a["split"] == name).any() and (of_b["split"] == name).any()]
    chosen = split or (both[0] if both else SPLITS[0])
    left, right = (
        table.loc[table["split"] == chosen, ["path", "label", "prediction"]].rename(columns={"prediction": side})
        for table, side in ((of_a, "a"), (of_b, "b"))
    )
    joined = left.merge(right, on="path", suffixes=("", "_b")).sort_values("path", kind="stable")
    same = joined["label"] == joined["label_b"]
    differences = [
        *_classes(a, b),
        *_alone(chosen, "A", left, right),
        *_alone(chosen, "B", right, left),
        *_relabelled(joined[~same]),
    ]
    table = joined.loc[same, ["path", "label", "a", "b"]].reset_index(drop=True)
    return Matched(chosen, models, table, differences)


def _shipped(table: pd.DataFrame) -> str | None:
    return str(table["model"].iloc[-1]) if len(table) else None


def _classes(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    """Both models may be right on the same examples and have had another choice."""
    of_a, of_b = ({name.removeprefix(SCORE) for name in t.columns if name.startswith(SCORE)} for t in (a, b))
    told = {"A": sorted(of_a - of_b), "B": sorted(of_b - of_a)}
    return [f"classes that only {side} knows: {_few(names)}" for side, names in told.items() if names]


def _alone(split: str, side: str, own: pd.DataFrame, other: pd.DataFrame) -> list[str]:
    alone = own[~own["path"].isin(other["path"])]
    return [f"{split} examples that only {side} was judged on: {_few(list(alone['path']))}"] if len(alone) else []


def _relabelled(rows: pd.DataFrame) -> list[str]:
    told = [f"{row.path} ({row.label} in A, {row.label_b} in B)" for row in rows.itertuples()]
    return [f"examples with another label: {_few(told)}"] if told else []


def _few(names: Sequence[str], most: int = 3) -> str:
    """'5: a, b, c, ...'"""
    return f"{len(names)}: {', '.join(names[:most])}{', ...' if len(names) > most else ''}"
