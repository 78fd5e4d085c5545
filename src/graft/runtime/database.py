"""Bytes by key in graft's own cache, which several processes and users may read and write at once.

LMDB: a process that is killed leaves it whole. Each value carries a checksum, which holds for its key alone.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import lmdb

from graft.errors import DataError
from graft.runtime import mounts
from graft.runtime.cache import folder_for, regular, say_once
from graft.runtime.progress import say

MAP_BYTES = 2**38
"""The address space of a database, not its disk: more than it will ever hold, since LMDB cannot grow beside threads."""

FILES = ("data.mdb", "lock.mdb")
"""What LMDB makes in a folder: the data, and the readers and the writer of the moment."""

READERS_BYTES = 2**16
"""More than LMDB's file of 512 readers takes."""

CHECKSUM_BYTES = 4

T = TypeVar("T")


class Database:
    """Bytes by key. One that cannot be used keeps nothing, after a word."""

    def __init__(self, kind: str) -> None:
        self._environment: lmdb.Environment | None = None
        self._open(lambda: folder_for(kind))

    def _open(self, find: Callable[[], Path]) -> None:
        try:
            self._environment = _open_whole(find())
        except (lmdb.Error, OSError, DataError) as error:
            say_once(f"note: graft's cache cannot be used ({error}); going on without")

    @staticmethod
    def opened(kind: str) -> Database:
        """The one of this process: LMDB must not be opened twice in one."""
        return _opened(kind, os.environ.get("GRAFT_CACHE_DIR"))

    def get(self, keys: Sequence[bytes | None]) -> list[bytes | None]:
        """The value of each key, None where there is none, or a damaged one."""
        return self._tried(lambda environment: _get(environment, keys)) or [None] * len(keys)

    def all_keys(self) -> list[bytes]:
        """Every key, damaged values' too."""
        return self._tried(_keys) or []

    def has(self, keys: Sequence[bytes]) -> list[bool]:
        """Whether there is a value of each key, which is not read: a damaged one counts."""
        return self._tried(lambda environment: _has(environment, keys)) or [False] * len(keys)

    @property
    def usable(self) -> bool:
        """Whether anything can be kept."""
        return self._environment is not None and not self._environment.flags()["readonly"]

    def verify(self) -> tuple[int, int]:
        """Read everything; drop what is damaged, where anything may be written. (values read, values damaged)"""
        read, damaged = self._tried(_damaged) or (0, [])
        if self.usable and damaged:
            self._tried(lambda environment: _delete(environment, damaged))
        return read, len(damaged)

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
            say_once(f"note: graft's cache cannot be used ({error}); going on without")
            self._environment = None
            return None


def _open_whole(folder: Path) -> lmdb.Environment:
    """A file that was cut short would kill the process when it is read: it is made anew.

    Where not all may be written, what is there is read. Raises DataError for a link, and for a network's disk.
    """
    if (kind := mounts.kind_of(folder)) in mounts.NETWORK:
        raise DataError(
            f"{folder}: must lie on a disk of this machine. Got a folder on {kind}, where LMDB damages what two "
            "machines write. Set GRAFT_CACHE_DIR to a folder on a local disk; to share features, "
            "GRAFT_CACHE_REMOTE to the folder on the network (docs/sharing.md)"
        )
    there = [folder / name for name in FILES if os.path.lexists(folder / name)]
    for file in there:
        if not regular(file):
            raise DataError(f"{file}: must be a file of graft's cache. Got a link, or no file. Remove it.")
    if not all(os.access(path, os.W_OK) for path in (folder, *there)):
        return lmdb.open(str(folder), map_size=MAP_BYTES, readonly=True, lock=False)
    environment = _for_writing(folder)
    file = folder / FILES[0]
    if file.stat().st_size >= environment.info()["last_pgno"] * environment.stat()["psize"]:
        return environment
    environment.close()
    say(f"note: {file} was cut short; made anew")
    file.unlink()
    return _for_writing(folder)


def _for_writing(folder: Path) -> lmdb.Environment:
    """Raises OSError where the disk is full: LMDB maps the file of its readers, and would be killed as it writes."""
    if hasattr(os, "posix_fallocate"):  # not on macOS
        file = os.open(folder / FILES[1], os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            os.posix_fallocate(file, 0, READERS_BYTES)
        finally:
            os.close(file)
    return lmdb.open(str(folder), map_size=MAP_BYTES, max_readers=512, mode=0o666)  # less what the umask takes


def _get(environment: lmdb.Environment, keys: Sequence[bytes | None]) -> list[bytes | None]:
    with environment.begin() as transaction:
        return [None if key is None else _whole(key, transaction.get(key)) for key in keys]


def _has(environment: lmdb.Environment, keys: Sequence[bytes]) -> list[bool]:
    with environment.begin() as transaction, transaction.cursor() as cursor:
        return [cursor.set_key(key) for key in keys]


def _put(environment: lmdb.Environment, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    with environment.begin(write=True) as transaction:
        for key, value in pairs:
            transaction.put(key, _checksum(key, value) + value)


def _keys(environment: lmdb.Environment) -> list[bytes]:
    with environment.begin() as transaction:
        return list(transaction.cursor().iternext(keys=True, values=False))


def _damaged(environment: lmdb.Environment) -> tuple[int, list[bytes]]:
    with environment.begin() as transaction:
        keys = [(key, _whole(key, value) is None) for key, value in transaction.cursor()]
    return len(keys), [key for key, damaged in keys if damaged]


def _delete(environment: lmdb.Environment, keys: Sequence[bytes]) -> None:
    with environment.begin(write=True) as transaction:
        for key in keys:
            transaction.delete(key)


def _whole(key: bytes, stored: bytes | None) -> bytes | None:
    """What was put under the key; None where it is damaged, or another's."""
    if stored is None or stored[:CHECKSUM_BYTES] != _checksum(key, memoryview(stored)[CHECKSUM_BYTES:]):
        return None
    return stored[CHECKSUM_BYTES:]


def _checksum(key: bytes, value: bytes | memoryview) -> bytes:
    return zlib.crc32(value, zlib.crc32(key)).to_bytes(CHECKSUM_BYTES)


@cache
def _opened(kind: str, place: str | None) -> Database:
    return Database(kind)
