"""Graft's own cache, and how an unchanged file is told without reading it.

The cache only saves time: it can be deleted at any moment. Its place is GRAFT_CACHE_DIR, or the user's cache folder.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from platformdirs import user_cache_dir

from graft.errors import DataError

SETTLED_SECONDS = 2.0
"""A file written this recently could change again without a newer time (as git's index holds)."""


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
