"""What examining a text found, and what that means for the catalogue.

Verdicts are not kept: a text is examined in less time than it takes to look it up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np
import pandas as pd

from graft.errors import SurroundingsError
from graft.examining.text.examine import Verdict
from graft.examining.text.examine import examine as verdicts_on
from graft.examples import catalogue
from graft.examples.catalogue import USED
from graft.examples.checks import near_texts
from graft.examples.checks.examined import Examined, Judgement, Looks
from graft.examples.sources import SOURCES
from graft.examples.sources.base import QUARANTINED, Reader
from graft.runtime.cores import available
from graft.runtime.progress import track
from graft.runtime.reading.prefetch import prefetched

if TYPE_CHECKING:
    from graft.config.data import DataParams
    from graft.examples.checks.runners.base import Runner

NEEDS = ("datasketch",)
"""Libraries that only texts want."""

CHUNK = 256
PROCESSES_FROM = 20_000
"""Texts from which on processes are worth their start."""

WAITING = 16
"""Texts that are read at a time where reading waits for a network."""

BYTES_PER_CHARACTER = 4
"""At most, in UTF-8."""


def examine(data: DataParams, paths: Sequence[str], runner: Runner) -> Iterator[tuple[int, Examined[Verdict]]]:
    """All of `paths`, in order, each with its number, on this machine.

    Raises SurroundingsError where a library is missing.
    """
    missing = [module for module in NEEDS if find_spec(module) is None]
    if missing:
        raise SurroundingsError(
            f"data.kind: text needs {' and '.join(missing)}, which this environment lacks. "
            "Run `pip install 'graft-transfer[text]'`."
        )
    pair = _is_pair(data)
    processes = available() if len(paths) >= PROCESSES_FROM else 1
    parallel = joblib.Parallel(processes, return_as="generator", pre_dispatch="4*n_jobs")
    chunks = _read_in_chunks(SOURCES[data.source].open(Path(data.path)), paths, pair, data.max_characters)
    results = parallel(joblib.delayed(_examined)(read, data_of, pair, data.max_characters) for read, data_of in chunks)
    yield from enumerate(one for chunk in track(results, len(paths), "examining", len, "texts") for one in chunk)


def _is_pair(data: DataParams) -> bool:
    return data.source == "manifest" and data.manifest.columns.second is not None


Read = tuple[list[Examined[Verdict]], dict[int, bytes]]
"""What is known of each text of a chunk without looking into it; number -> bytes, of those to look into."""


def _read_in_chunks(reader: Reader, paths: Sequence[str], pair: bool, max_characters: int) -> Iterator[Read]:
    """By this process alone: a table is parsed once, not by each that examines."""
    read = partial(_read, reader, pair=pair, max_characters=max_characters)
    for start in range(0, len(paths), CHUNK):
        some = paths[start : start + CHUNK]
        results = prefetched(read, some, WAITING, 2 * WAITING) if reader.waits else map(read, some)
        both = list(results)
        yield [known for known, _ in both], {n: data for n, (_, data) in enumerate(both) if data is not None}


def _read(reader: Reader, path: str, pair: bool, max_characters: int) -> tuple[Examined[Verdict], bytes | None]:
    """What is known of a text without looking into it, and its bytes where that is not all."""
    most_bytes = BYTES_PER_CHARACTER * max_characters * (1 + pair) + BYTES_PER_CHARACTER  # and NUL, or a mark
    try:
        n_bytes = reader.size(path)
        if n_bytes > most_bytes:
            detail = f"{n_bytes} bytes, more than data.max_characters {max_characters} can have"
            return Examined("", n_bytes, Verdict(0, 0, reason="too long", detail=detail)), None
        data = reader.read(path)
    except OSError as error:
        return Examined("", 0, None, error.strerror or str(error)), None
    return Examined(hashlib.sha256(data).hexdigest(), len(data), None), data


def _examined(
    known: list[Examined[Verdict]], content: dict[int, bytes], pair: bool, max_characters: int
) -> list[Examined[Verdict]]:
    found = list(known)
    for number, verdict in zip(content, verdicts_on(list(content.values()), pair, max_characters), strict=True):
        found[number] = replace(found[number], verdict=verdict)
    return found


def measured(verdict: Verdict, data: DataParams) -> tuple[int, int]:
    return verdict.characters, verdict.words


def judge(path: str, verdict: Verdict, data: DataParams) -> Judgement:
    if verdict.reason:
        return QUARANTINED, verdict.reason, verdict.detail
    remarks = verdict.remarks
    return USED, remarks[0][0] if remarks else "", "; ".join(detail for _, detail in remarks)


def copies(table: pd.DataFrame, looks: Looks, data: DataParams) -> np.ndarray:
    """(n,) int64: texts with the same number are copies of one. Raises StaleError where one has changed meanwhile."""
    read = catalogue.reader(SOURCES[data.source], Path(data.path))
    paths, sha256s = table["path"], table["sha256"]
    return near_texts.groups(
        sha256s, looks, data.duplicates.near_similarity, lambda row: read(str(paths.iat[row]), str(sha256s.iat[row]))
    )
