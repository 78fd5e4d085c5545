"""The CSV to decide in: a row for each image that is listed, with an empty `decision`; then what was decided before.

It is what `data.relabel` reads: filled in and put into its folder, it takes the place of the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from graft.audit.subject import Subject
from graft.examples.relabel import DECISION, PATH, SHA256

COLUMNS = (PATH, "label", "suggested", DECISION, "probability", "label_probability", "found", "split", SHA256)
"""probability: of the suggested class. found: suspect, outlier, or the other image of a pair that is nearly the same;
decided: in an earlier table."""

DECIDED, TEXT = "decided", "text"


def table(subject: Subject, listed: list[dict[str, Any]]) -> pd.DataFrame:
    """listed: values of COLUMNS but for the decision, as they come; of an image that comes twice the first counts."""
    rows = pd.DataFrame(listed, columns=list(COLUMNS)).drop_duplicates(PATH)
    known = subject.everything.set_index(PATH)
    split = dict(zip(subject.images[PATH], subject.images["split"], strict=True))
    before = [
        {
            PATH: path,
            "label": known.at[path, "label"],
            DECISION: decision.what,
            "found": DECIDED,
            "split": split.get(path, ""),
            SHA256: known.at[path, SHA256],
        }
        for path, decision in subject.decisions.items()
        if path in known.index
    ]
    rows = pd.concat([rows, pd.DataFrame(before, columns=list(COLUMNS))]) if before else rows
    return rows.astype(object).where(rows.notna(), "")


FORMULA = ("=", "+", "-", "@")
"""How a cell begins that a spreadsheet would compute."""


def write(rows: pd.DataFrame, texts: Mapping[str, Sequence[str]], file: Path) -> None:
    """With a byte order mark, by which a spreadsheet knows UTF-8.

    texts: path -> the texts of an example; where there are any they get a column, behind the others. One that would be
    a formula to a spreadsheet has an apostrophe before it.
    """
    columns = list(COLUMNS)
    if texts:
        shown = [" / ".join(texts.get(path, ())) for path in rows[PATH]]
        rows = rows.assign(**{TEXT: [f"'{text}" if text.startswith(FORMULA) else text for text in shown]})
        columns.append(TEXT)
    file.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(file, index=False, lineterminator="\n", encoding="utf-8-sig", columns=columns)
