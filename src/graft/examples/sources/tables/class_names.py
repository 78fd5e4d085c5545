"""A file of the classes' names, for tables whose labels are numbers.

A name a line, the first of them number 0; or `number name` or `name, number` a line; or a JSON list or object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from graft.errors import DataError
from graft.examples.sources.tables.columns import Row, held
from graft.examples.sources.tables.table import decoded
from graft.runtime.columns import Rows

NUMBER_FIRST = re.compile(r"\s*(?P<number>\d+)\s*[\s,;:]\s*(?P<name>\S.*?)\s*")
NUMBER_LAST = re.compile(r"\s*(?P<name>\S.*?)\s*[,;:\t]\s*(?P<number>\d+)\s*")
"""The second without blanks alone: `class 1` is a name."""


def read(content: bytes, file: str) -> dict[str, str]:
    """Number, as text without leading zeros, -> name. Raises DataError for anything else, or a number twice."""
    text = decoded(content, file)
    pairs = _of_json(text, file) if Path(file).suffix.lower() == ".json" else _of_lines(text)
    names: dict[str, str] = {}
    for number, name in pairs:
        if names.setdefault(str(number), name) != name:
            raise DataError(
                f"data.manifest.classes: {file} must name each class once. Got {names[str(number)]!r} and {name!r} "
                f"for {number}."
            )
    if not names:
        raise DataError(f"data.manifest.classes: {file} must name the classes. Got nothing.")
    return names


def apply(names: Mapping[str, str], rows: Rows[Row], file: str) -> Rows[Row]:
    """The rows with names for numbers. Raises DataError for a label that is none of the numbers. file: of the names."""

    def named(row: Row) -> Row:
        number = str(int(row.label)) if row.label.isdecimal() else row.label
        if row.label and number not in names:
            numbers = sorted(int(one) for one in names)
            raise DataError(
                f"{row.place}: the label must be a number of {file}, which has {len(names)} from {numbers[0]} to "
                f"{numbers[-1]}. Got {row.label!r}. Where labels do not count from 0, write `number name` lines."
            )
        return replace(row, label=names[number]) if row.label else row

    return held(map(named, rows))


def _of_lines(text: str) -> list[tuple[int, str]]:
    lines = [line for line in text.splitlines() if line.strip()]
    starts = (0, 1) if lines and re.search(r"[,;\t]", lines[0]) else (0,)  # the first line may be a header
    for pattern in (NUMBER_FIRST, NUMBER_LAST):
        for start in starts:
            found = [pattern.fullmatch(line) for line in lines[start:]]
            if found and all(found):
                return [(int(match["number"]), _unquoted(match["name"])) for match in found if match]
    return [(number, line.strip()) for number, line in enumerate(lines)]


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if len(name) > 2 and name[0] == name[-1] == '"' else name


def _of_json(text: str, file: str) -> list[tuple[int, str]]:
    try:
        tree: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"data.manifest.classes: {file} must be JSON. Got: {error}. Correct the file.") from None
    if isinstance(tree, list):
        tree = dict(enumerate(tree))
    pairs = list(tree.items()) if isinstance(tree, dict) else []
    if pairs and all(type(value) is int for _, value in pairs):
        pairs = [(value, key) for key, value in pairs]
    if not pairs or not all(str(number).isdecimal() and isinstance(name, str) for number, name in pairs):
        raise DataError(
            f"data.manifest.classes: {file} must be a list of names, or an object of names and numbers. "
            f"Got {text[:60]!r}."
        )
    return [(int(number), name) for number, name in pairs]
