"""A directory, or an archive that is not unpacked into it, as a tree of files.

A .zip is read in place. A .tar, compressed or not, has no index: it is copied once, member by member, into an
uncompressed .zip in graft's cache (GRAFT_CACHE_DIR), named by the archive's sha256.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from graft.cache import file_stamp, folder_for
from graft.data.sources.base import IGNORED, QUARANTINED, Problem, Reader
from graft.errors import DataError
from graft.progress import say

UNWRITABLE = {"Cc", "Cs"}
"""Unicode categories that do not survive a CSV: control characters, and what stands for bytes that are not UTF-8."""

SPECIAL = "a pipe, socket or device"
DVC_CACHED = re.compile(r"/[0-9a-f]{2}/[0-9a-f]{30}$")
"""Where DVC keeps content; with `cache.type symlink` every file of a data set is a link there."""


@dataclass(frozen=True)
class Entry:
    """A file, or what stands in the place of one. path: relative, with forward slashes."""

    path: str
    problem: Problem | None = None


class Tree(Reader, Protocol):
    """Files by their relative paths."""

    def entries(self) -> list[Entry]:
        """Every file, in the order of the paths' parts; hidden ones, links and what is no file with their problem."""


def open_tree(path: Path) -> Tree:
    """Raises DataError where `path` is neither a directory nor an archive that can be read."""
    if path.is_dir():
        return Directory(path)
    if path.is_file():
        return _archive(path)
    raise DataError(f"data.path: must be a directory or an archive (.zip, .tar, .tar.gz). Got {str(path)!r}.")


def _unusable_name(path: str) -> Entry | None:
    if path.isprintable() or not any(unicodedata.category(character) in UNWRITABLE for character in path):
        return None
    shown = path.encode("utf-8", "backslashreplace").decode().encode("unicode_escape").decode()
    return Entry(shown, Problem(QUARANTINED, "unusable name", "control characters, or bytes that are not UTF-8"))


def _hidden(path: str) -> bool:
    return "/." in f"/{path}" and any(part.startswith(".") and part not in (".", "..") for part in path.split("/"))


class Directory:
    """root: an existing directory. Hidden directories and links to directories are one entry each."""

    cheap_to_open = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = os.path.realpath(root)

    def entries(self) -> list[Entry]:
        return list(self._walk(""))

    def _walk(self, folder: str) -> Iterator[Entry]:
        try:
            with os.scandir(self.root / folder) as found:
                inside = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                f"data.path: {self.root / folder} must be readable. Got: {error.strerror}. Change its permissions."
            ) from None
        for entry in inside:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from self._walk(path)
            else:
                yield _unusable_name(path) or Entry(path, self._problem(entry))

    def _problem(self, entry: os.DirEntry[str]) -> Problem | None:
        if entry.name.startswith("."):
            return Problem(IGNORED, "hidden directory" if os.path.isdir(entry.path) else "hidden file")
        if entry.is_symlink():
            return self._problem_of_link(entry)
        if not entry.is_file():
            return Problem(QUARANTINED, "not a regular file", SPECIAL)
        return None

    def _problem_of_link(self, entry: os.DirEntry[str]) -> Problem | None:
        if os.path.isdir(entry.path):
            return Problem(IGNORED, "link to a directory, not followed")
        target = os.path.realpath(entry.path)
        if not os.path.exists(target):
            return Problem(QUARANTINED, "broken link", f"to {os.readlink(entry.path)}")
        if not target.startswith(self._real + os.sep) and not DVC_CACHED.search(target):
            return Problem(QUARANTINED, "link leaves the directory", f"to {target}")
        if not stat.S_ISREG(os.stat(target).st_mode):
            return Problem(QUARANTINED, "not a regular file", SPECIAL)
        return None

    def read(self, path: str) -> bytes:
        with open(f"{self.root}/{path}", "rb") as file:
            return file.read()

    def stamp(self, path: str) -> str | None:
        return file_stamp(f"{self._real}/{path}")


class Archive:
    """A .zip. A single directory at its top, as most archives have, is not part of the paths."""

    cheap_to_open = True

    def __init__(self, path: Path, stamp: str | None) -> None:
        self._zip = zipfile.ZipFile(path)
        self._stamp = stamp
        members = [info for info in self._zip.infolist() if not info.is_dir()]
        tops = {info.filename.split("/", 1)[0] for info in members if not _hidden(info.filename)}
        inside = all("/" in info.filename for info in members if not _hidden(info.filename))
        top = f"{tops.pop()}/" if len(tops) == 1 and inside else ""
        self._members = {info.filename.removeprefix(top): info for info in members}

    def entries(self) -> list[Entry]:
        ordered = sorted(self._members, key=lambda path: path.split("/"))
        return [_unusable_name(path) or Entry(path, self._problem(path)) for path in ordered]

    def _problem(self, path: str) -> Problem | None:
        info = self._members[path]
        if _hidden(path) or path.startswith("__MACOSX/"):
            return Problem(IGNORED, "hidden file")
        if path.startswith("/") or ".." in path.split("/"):
            return Problem(QUARANTINED, "unusable name", "leaves the archive")
        mode = info.external_attr >> 16
        if stat.S_ISLNK(mode):
            return Problem(QUARANTINED, "link in an archive", "add the file itself")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            return Problem(QUARANTINED, "not a regular file", SPECIAL)
        if info.flag_bits & 1:
            return Problem(QUARANTINED, "encrypted", "unpack the archive with its password")
        return None

    def read(self, path: str) -> bytes:
        try:
            return self._zip.read(self._members[path])
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "not in the archive") from None
        except Exception as error:  # BadZipFile, zlib.error, LZMAError, NotImplementedError have no common base
            raise OSError(errno.EIO, f"damaged in the archive: {error}") from None

    def stamp(self, path: str) -> str | None:
        info = self._members[path]
        return self._stamp and f"{self._stamp} {path} {info.CRC} {info.file_size}"


def _archive(path: Path) -> Archive:
    try:
        if zipfile.is_zipfile(path):
            return Archive(path, file_stamp(os.path.realpath(path)))
        if tarfile.is_tarfile(path):
            packed = _repacked(path)
            return Archive(packed, packed.name)
    except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise DataError(f"data.path: {path} must be a whole archive. Got: {error}. Fetch it again.") from None
    raise DataError(f"data.path: must be a directory or an archive (.zip, .tar, .tar.gz). {path} is neither.")


def _repacked(path: Path) -> Path:
    """The tar as an uncompressed zip in the cache, made where it is not there yet."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    packed = folder_for("archives") / f"{digest}.zip"
    if packed.exists():
        return packed
    say(f"{path}: copying into {packed.parent}, once, since a tar cannot be read at random")
    with tempfile.NamedTemporaryFile(dir=packed.parent, suffix=".part", delete=False) as part:
        try:
            with tarfile.open(path) as tar, zipfile.ZipFile(part, "w") as out:
                _copy(tar, out)
            part.flush()
            os.fsync(part.fileno())
            os.replace(part.name, packed)
        except BaseException:
            os.unlink(part.name)
            raise
    return packed


def _copy(tar: tarfile.TarFile, out: zipfile.ZipFile) -> None:
    for member in tar:
        name = member.name.removeprefix("./")
        if member.isdir():
            continue
        info = zipfile.ZipInfo(name)
        source = tar.extractfile(member) if member.isreg() or member.islnk() else None
        if source is None:
            info.external_attr = (stat.S_IFLNK if member.issym() else stat.S_IFIFO) << 16
            out.writestr(info, b"")
        else:
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            out.writestr(info, source.read())
