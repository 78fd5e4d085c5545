"""Features by the content of examples: an example goes through a network once, whatever set it is in.

Per fingerprint, which is everything else that a value depends on, there is a database in graft's cache, keyed by the
sha256 of the example's bytes and the number of the view. Deleting any of it costs time, never correctness.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from graft.errors import DataError
from graft.inputs.batches import Key
from graft.runtime.cache import folder_for, new_file, place, regular, say_once
from graft.runtime.database import Database
from graft.runtime.progress import say

KIND = "features"
WHAT = "what.json"
LIMIT_VARIABLE = "GRAFT_CACHE_GB"
LIMIT_GB = 50.0
VIEW_BYTES = 4
RELEASE_BYTES = 2**27


@dataclass(frozen=True)
class Part:
    """An array that an example has. shape, dtype: of it."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class FeatureCache:
    """What a fingerprint gives for examples. what: the fingerprint. part: the array that each example has."""

    def __init__(self, what: dict[str, Any], part: Part) -> None:
        text = json.dumps(what, sort_keys=True)
        self.name = name_of(what)
        self._part = part
        self._touched = 0
        self._database = Database.opened(f"{KIND}/{self.name}")
        if self._database.usable:
            _note_use(f"{KIND}/{self.name}", text)

    def get(self, keys: Sequence[Key]) -> list[np.ndarray | None]:
        """The array of each example, None where it is not known or damaged."""
        found = [self._array(value) for value in self._database.get([key_of(key) for key in keys])]
        self._touch(len(keys))
        return found

    def put(self, values: Sequence[tuple[Key, np.ndarray]]) -> None:
        """Keep the arrays of examples, in one transaction. Each has the part's shape and dtype."""
        self._database.put([(key_of(key), np.ascontiguousarray(array).tobytes()) for key, array in values])
        self._touch(len(values))

    def _touch(self, n_values: int) -> None:
        """Memory stays flat however much is read and written."""
        self._touched += n_values * self._part.n_bytes
        if self._touched > RELEASE_BYTES:
            self._database.release()
            self._touched = 0

    def _array(self, value: bytes | None) -> np.ndarray | None:
        if value is None or len(value) != self._part.n_bytes:
            return None
        return np.frombuffer(value, self._part.dtype).reshape(self._part.shape)


def name_of(what: dict[str, Any]) -> str:
    """Of the folder of a fingerprint."""
    return _name(json.dumps(what, sort_keys=True))


def _name(text: str) -> str:
    """Of the folder of the fingerprint that `text` describes."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _note_use(kind: str, text: str) -> None:
    """Written at each use, so that its time tells which fingerprint has not been used for longest."""
    try:
        folder = folder_for(kind)
        with new_file(folder) as file:
            file.write(text.encode())
            file.flush()
            os.replace(file.name, folder / WHAT)
    except (OSError, DataError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        say_once(f"note: when features were used is not noted in graft's cache ({reason}); going on without")


def key_of(key: Key) -> bytes:
    """Of a value in its fingerprint's database."""
    sha256, view = key
    return bytes.fromhex(sha256) + view.to_bytes(VIEW_BYTES)


@dataclass(frozen=True)
class Held:
    """A fingerprint in the cache. n_bytes: on disk. used: seconds since the epoch."""

    folder: Path
    what: dict[str, Any]
    n_bytes: int
    used: float

    @property
    def backbone(self) -> str:
        """Its name; another version of graft, which shares the cache, may describe it in another way."""
        try:
            return cast(str, self.what["backbone"]["name"])
        except (KeyError, TypeError):
            return "an unknown backbone"


def held() -> list[Held]:
    """Every fingerprint, the one used last first."""
    found = []
    for folder in _folders():
        try:
            if (text := _described(folder)) is not None:
                found.append(Held(folder, json.loads(text), _disk_bytes(folder), (folder / WHAT).stat().st_mtime))
        except (OSError, ValueError):  # being removed by another process, or no text
            continue
    return sorted(found, key=lambda one: (-one.used, one.folder.name))


def _described(folder: Path) -> str | None:
    """What a folder holds; None where nothing says so yet, or something that is not of this folder."""
    if folder.is_symlink() or not regular(folder / WHAT):
        return None
    text = (folder / WHAT).read_text()
    return text if _name(text) == folder.name else None


def _folders() -> list[Path]:
    """Of the fingerprints; none where the cache cannot be read."""
    try:
        return list((place() / KIND).iterdir())
    except OSError:
        return []


def _disk_bytes(folder: Path) -> int:
    return sum(file.lstat().st_blocks * 512 for file in folder.iterdir())


def limit_bytes() -> float:
    """The bytes that all features together may take, from GRAFT_CACHE_GB."""
    try:
        given = float(os.environ.get(LIMIT_VARIABLE, LIMIT_GB))
        if not 0 <= given < math.inf:
            raise ValueError
        return given * 1e9
    except ValueError:
        say(
            f"note: {LIMIT_VARIABLE}: must be a number of gigabytes, 0 or more. Got {os.environ[LIMIT_VARIABLE]!r}; "
            f"using {LIMIT_GB:g}"
        )
        return LIMIT_GB * 1e9


def prune(most_bytes: float, keep: Collection[str] = ()) -> list[Held]:
    """Remove the fingerprints not used for longest until the rest fits; returns what was removed.

    keep: names of those that stay, however large they are. A process that still reads one goes on reading it.
    """
    kept = held()
    removed = []
    for one in reversed(kept.copy()):
        if sum(other.n_bytes for other in kept) > most_bytes and one.folder.name not in keep:
            kept.remove(one)
            shutil.rmtree(one.folder, ignore_errors=True)
            if not one.folder.exists():  # as where it is another user's
                removed.append(one)
    return removed


def verify() -> tuple[int, int]:
    """Read everything and drop what is damaged; returns (values read, values damaged)."""
    counts = [Database.opened(f"{KIND}/{one.folder.name}").verify() for one in held()]
    return sum(read for read, _ in counts), sum(damaged for _, damaged in counts)
