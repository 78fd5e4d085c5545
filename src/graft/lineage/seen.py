"""As which part each run had an example, or a near copy of it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd

IDENTICAL, NEAR = "identical", "near"


@dataclass(frozen=True)
class Seen:
    """An example that a run had. split: train, validation, test, or unused. copy: IDENTICAL or NEAR."""

    path: str
    label: str
    split: str
    copy: str


def digests(content: bytes) -> set[str]:
    """The sha256s under which an example of these bytes may be known.

    A text that is a row of a table has no line end, which an editor gives to a file with the same text.
    """
    return {hashlib.sha256(one).hexdigest() for one in (content, content.rstrip(b"\r\n"))}


def among(table: pd.DataFrame, identical: Collection[str], near: Collection[str]) -> Sequence[Seen]:
    """The rows of a run's examples with one of these sha256s, identical ones first, in the table's order.

    table: path, sha256, label, split. A sha256 of both is identical.
    """
    found = []
    for copy, sha256s in ((IDENTICAL, set(identical)), (NEAR, set(near) - set(identical))):
        rows = table.loc[table["sha256"].isin(sha256s), ["path", "label", "split"]]
        found += [Seen(str(path), str(label), str(split), copy) for path, label, split in rows.to_numpy().tolist()]
    return found
