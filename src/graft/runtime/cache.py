"""Graft's own cache: where it lies, the database in it, and how an unchanged file is told without reading it.

It only saves time and may be deleted at any moment. Its place is GRAFT_CACHE_DIR, or the user's cache folder.
LMDB: several processes may read and write, and a process that is killed leaves it whole.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import lmdb
from platformdirs import user_cache_dir

from graft.errors import DataError
from graft.runtime.progress import say

SETTLED_SECONDS = 2.0
"""A file written this recently could change again without a newer time (as git's index holds)."""

MAP_BYTES = 2**38
"""The address space of a database, not its disk: more than it will ever hold, since LMDB cannot grow beside threads."""

T = TypeVar("T")


def place() -> Path:
    """Where the cache lies, whether or not anything is there."""
    return Path(os.environ.get("GRAFT_CACHE_DIR") or user_cache_dir("graft"))


def folder_for(kind: str) -> Path:
    """A folder of the cache, made where it is not there. Raises DataError where it cannot be."""
    root = place()
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
    """Bytes by key. One that cannot be used keeps nothing, after a word."""

    def __init__(self, kind: str) -> None:
        self._environment: lmdb.Environment | None = None
        self._open(lambda: folder_for(kind))

    def _open(self, find: Callable[[], Path]) -> None:
        try:
            self._environment = _open_whole(find())
        except (lmdb.Error, OSError, DataError) as error:
            _say_once(f"note: graft's cache cannot be used ({error}); going on without")

    @staticmethod
    def opened(kind: str) -> Database:
        """The one of this process: LMDB must not be opened twice in one."""
        return _opened(kind, os.environ.get("GRAFT_CACHE_DIR"))

    def get(self, keys: Sequence[bytes | None]) -> list[bytes | None]:
        """The value of each key, None where there is none."""
        return self._tried(lambda environment: _get(environment, keys)) or [None] * len(keys)

    @property
    def usable(self) -> bool:
        """Whether anything can be kept."""
        return self._environment is not None and not self._environment.flags()["readonly"]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value, as they stand when this begins."""
        if self._environment is not None:
            with self._environment.begin() as transaction:
                yield from transaction.cursor()

    def delete(self, key: bytes) -> None:
        """Drop a key."""
        if self.usable:
            self._tried(lambda environment: _delete(environment, key))

    def put(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """In one transaction, which waits for the disk."""
        if self.usable:
            self._tried(lambda environment: _put(environment, pairs))

    def release(self) -> None:
        """Give back the pages that were read or written: mapped, they count as this process's memory."""
        environment, self._environment = self._environment, None
        if environment is not None:
            folder = Path(environment.path())
            environment.close()
            self._open(lambda: folder)

    def _tried(self, action: Callable[[lmdb.Environment], T]) -> T | None:
        """A full disk costs time only."""
        environment = self._environment
        if environment is None:
            return None
        try:
            return action(environment)
        except lmdb.Error as error:
            if self._environment is not None:
                say(f"note: graft's cache cannot be used ({error}); going on without")
            self._environment = None
            return None


@cache
def _say_once(text: str) -> None:
    say(text)


def _open_whole(folder: Path) -> lmdb.Environment:
    """A file that was cut short would kill the process when it is read: it is made anew.

    Where nothing may be written, what is there is read.
    """
    if not os.access(folder, os.W_OK):
        return lmdb.open(str(folder), map_size=MAP_BYTES, readonly=True, lock=False)
    environment = lmdb.open(str(folder), map_size=MAP_BYTES, max_readers=512)
    file = folder / "data.mdb"
    if file.stat().st_size >= environment.info()["last_pgno"] * environment.stat()["psize"]:
        return environment
    environment.close()
    say(f"note: {file} was cut short; made anew")
    file.unlink()
    return lmdb.open(str(folder), map_size=MAP_BYTES, max_readers=512)


def _get(environment: lmdb.Environment, keys: Sequence[bytes | None]) -> list[bytes | None]:
    with environment.begin() as transaction:
        return [None if key is None else transaction.get(key) for key in keys]


def _put(environment: lmdb.Environment, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    with environment.begin(write=True) as transaction:
        for key, value in pairs:
            transaction.put(key, value)


def _delete(environment: lmdb.Environment, key: bytes) -> None:
    with environment.begin(write=True) as transaction:
        transaction.delete(key)


@cache
def _opened(kind: str, place: str | None) -> Database:
    return Database(kind)
