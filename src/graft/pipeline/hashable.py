"""What DVC cannot hash in a folder: it hashes `data.path` before any stage starts, and stops or waits for ever."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

AT_A_TIME = 500
"""Paths in one call of `dvc check-ignore`."""


def faults(root: Path, project: Path = Path()) -> list[tuple[str, str]]:
    """(path below root, what DVC does there) of everything that `.dvcignore` of `project` does not leave out.

    root: a directory. Links to directories are not followed, as DVC does not.
    """
    found = list(_unhashable(root))
    if not found or not _inside(root, project):
        return found
    ignored = _ignored([str(root / path) for path, _ in found], project)
    return [(path, fault) for path, fault in found if str(root / path) not in ignored]


def _inside(root: Path, project: Path) -> bool:
    """Whether `.dvcignore` counts: it does in the project alone."""
    return Path(os.path.abspath(root)).is_relative_to(os.path.abspath(project))


def _unhashable(root: Path) -> Iterator[tuple[str, str]]:
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            yield _shown(folder or "."), f"stops: the directory cannot be read ({error.strerror})"
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
            elif not _is_utf8(path):
                yield _shown(path), "stops: the name is not UTF-8"
            elif fault := _fault(entry):
                yield path, fault


def _fault(entry: os.DirEntry[str]) -> str | None:
    try:
        mode = os.stat(entry.path).st_mode
    except OSError as error:
        return f"stops: a link to {_shown(os.readlink(entry.path))} ({error.strerror})"
    if stat.S_ISDIR(mode):  # by a link, which DVC does not follow
        return None
    if stat.S_ISREG(mode):
        return None if os.access(entry.path, os.R_OK) else "stops: the file cannot be read (permission denied)"
    if stat.S_ISFIFO(mode):
        return "waits for ever: a pipe"
    return "stops: a socket" if stat.S_ISSOCK(mode) else "may wait for ever: a device"


def _shown(path: str) -> str:
    """Quoted where it cannot be printed."""
    return path if path.isprintable() else ascii(path)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _ignored(paths: list[str], project: Path) -> set[str]:
    """Those that `.dvcignore` leaves out."""
    found: set[str] = set()
    for start in range(0, len(paths), AT_A_TIME):
        command = [sys.executable, "-m", "dvc", "check-ignore", "--", *paths[start : start + AT_A_TIME]]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        found |= set(done.stdout.splitlines())
    return found
