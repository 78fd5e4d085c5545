"""Graft's own cache: where it lies, the files in it, and how an unchanged file is told without reading it.

It only saves time and may be deleted at any moment. Its place is GRAFT_CACHE_DIR, or the user's cache folder. Others
may share it: what is made in it has the rights that the umask leaves, and what is found in it is not trusted. A link
is not followed, and content is used where its checksum holds, which tells damage, not a forger.
"""

from __future__ import annotations

import errno
import mmap
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, BinaryIO

from platformdirs import user_cache_dir

from graft.errors import DataError
from graft.runtime.progress import say

ARCHIVES = "archives"
"""The part that holds copies of archives which cannot be read at random."""

UNNAMED = "unnamed"
"""The part for files without a name: nothing is seen in it, unless the system gives them one until they are closed."""

SETTLED_SECONDS = 2.0
"""A file written this recently could change again without a newer time (as git's index holds)."""

UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
"""How the system says that a folder may not be written."""


def place() -> Path:
    """Where the cache lies, whether or not anything is there."""
    return Path(os.environ.get("GRAFT_CACHE_DIR") or user_cache_dir("graft"))


def folder_for(kind: str) -> Path:
    """A folder of the cache, made where it is not there. Raises DataError where it cannot be, or is a link."""
    folder = place()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in kind.split("/"):
            folder = folder / name
            if folder.is_symlink():
                raise DataError(f"{folder}: must be a folder of graft's cache. Got a link. Remove it.")
            folder.mkdir(exist_ok=True)
    except OSError as error:
        raise _unusable(error) from None
    return folder


def _unusable(error: OSError) -> DataError:
    return DataError(f"GRAFT_CACHE_DIR: must be a folder that can be written. Got {str(place())!r}: {error.strerror}.")


def regular(path: Path) -> bool:
    """Whether there is a file that is no link, pipe or other thing: all that is read in a folder of the cache."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


@contextmanager
def new_file(folder: Path) -> Iterator[BinaryIO]:
    """A file in a folder of the cache, to be filled and renamed; gone at the end unless it was.

    What it is renamed to is whole from its first moment, and takes the place of a link instead of following it.
    Raises DataError where the folder may not be written.
    """
    part = folder / f"{secrets.token_hex(8)}.part"
    try:
        with part.open("xb") as file:
            yield file
    except OSError as error:
        if error.errno in UNWRITABLE:
            raise _unusable(error) from None
        raise
    finally:
        part.unlink(missing_ok=True)


def unnamed_file() -> IO[bytes] | None:
    """An empty file to write without a buffer, and to map; it is gone as soon as nobody has it open.

    On the cache's disk, or where the system has such files; None where neither can be written and mapped.
    """
    for folder in (lambda: folder_for(UNNAMED), lambda: None):
        with suppress(DataError, OSError), ExitStack() as closed:
            file = closed.enter_context(tempfile.TemporaryFile(dir=folder(), buffering=0))
            file.write(b"0")
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).close()
            file.seek(0)
            file.truncate()
            closed.pop_all()
            return file
    return None


@cache
def say_once(text: str) -> None:
    """A line for the user, however often the cause comes."""
    say(text)


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
