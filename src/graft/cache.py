"""Graft's own cache: where it lies, the database in it, and how an unchanged file is told without reading it.

It only saves time and may be deleted at any moment. Its place is GRAFT_CACHE_DIR, or the user's cache folder.
LMDB: several processes may read and write, and a process that is killed leaves it whole.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import lmdb
from platformdirs import user_cache_dir

from graft.errors import DataError
from graft.progress import say

SETTLED_SECONDS = 2.0
"""A file written this recently could change again without a newer time (as git's index holds)."""

FIRST_MAP_BYTES = 2**30
"""Of address space, not of disk; doubled when it is full."""

T = TypeVar("T")


def folder_for(kind: str) -> Path:
    """A folder of the cache, made where it is not there. Raises DataError where it cannot be."""
    root = Path(os.environ.get("GRAFT_CACHE_DIR") or user_cache_dir("graft"))
    try:
        (root / kind).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"GRAFT_CACHE_DIR: must be a folder that can be written. Got {str(root)!r}: {error.strerror}."
        ) from None
    return root / kind


def file_stamp(path: str) -> str | None:
    """Name, size, times and inode of a file; None where it was written so recently that these may not tell.

    path: absolute, without links on the way to the file.
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    if time.time() - max(status.st_mtime, status.st_ctime) < SETTLED_SECONDS:
        return None
    return f"{path} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


class Database:
    """Bytes by key. One that cannot be used keeps nothing, after saying so once."""

    def __init__(self, folder: Path) -> None:
        self._environment: lmdb.Environment | None = None
        try:
            self._environment = lmdb.open(str(folder), map_size=FIRST_MAP_BYTES, max_readers=512)
        except lmdb.Error as error:
            say(f"note: {folder} cannot be used ({error}); going on without. It may be deleted at any time.")

    @staticmethod
    def opened(kind: str) -> Database:
        """The one of this process: LMDB must not be opened twice in one."""
        return _opened(folder_for(kind))

    def get(self, keys: Sequence[bytes | None]) -> list[bytes | None]:
        """The value of each key, None where there is none."""
        return self._tried(lambda environment: _get(environment, keys)) or [None] * len(keys)

    def put(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """In one transaction, which waits for the disk."""
        self._tried(lambda environment: _put(environment, pairs))

    def _tried(self, action: Callable[[lmdb.Environment], T]) -> T | None:
        """A full disk or a damaged file costs time only."""
        if self._environment is None:
            return None
        try:
            try:
                return action(self._environment)
            except lmdb.MapResizedError:  # by another process
                self._environment.set_mapsize(0)
            except lmdb.MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
            return action(self._environment)
        except lmdb.Error as error:
            say(f"note: graft's cache cannot be used ({error}); going on without")
            self._environment = None
            return None


def _get(environment: lmdb.Environment, keys: Sequence[bytes | None]) -> list[bytes | None]:
    with environment.begin() as transaction:
        return [None if key is None else transaction.get(key) for key in keys]


def _put(environment: lmdb.Environment, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    with environment.begin(write=True) as transaction:
        for key, value in pairs:
            transaction.put(key, value)


@cache
def _opened(folder: Path) -> Database:
    return Database(folder)
