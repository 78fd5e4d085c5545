"""A directory, an archive that is not unpacked into it, or what a listing names elsewhere, as a tree of files.

A .zip is read in place. A .tar, compressed or not, has no index: it is copied once into a .zip (`packed.py`).
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from graft.errors import FULL, DataError, listing
from graft.examples.sources import listing as listings
from graft.examples.sources.base import IGNORED, QUARANTINED, Problem, Reader, plain
from graft.examples.sources.entry import Entry, held, hidden, named
from graft.examples.sources.listed import Listed
from graft.examples.sources.packed import CLAIMS_TOO_MUCH, MOST_BYTES, packed
from graft.inputs.image.formats import SUFFIXES
from graft.runtime.cache import file_stamp
from graft.runtime.room import Room

SPECIAL = "a pipe, socket or device"
LINKED = Problem(QUARANTINED, "link to a directory", "DVC does not see what changes below it; copy it here")
TABLES = (".csv", ".tsv", ".parquet", ".txt", ".json", ".jsonl")
UNPACKED = (*SUFFIXES, *TABLES)
"""Names of members that are taken out of an archive."""


class Tree(Reader, Protocol):
    """Files by their relative paths."""

    def entries(self) -> Sequence[Entry]:
        """In the order of the paths' parts, those with a problem too; a hidden directory or a link is one entry."""

    def open(self, path: str) -> IO[bytes]:
        """A file to be read at any place. Raises OSError."""


def open_tree(path: Path, suffixes: tuple[str, ...] | None = SUFFIXES) -> Tree:
    """suffixes: of what is looked for; an archive that has other archives instead is refused. None: none is.

    Raises DataError where `path` is neither a directory, nor an archive or a listing that can be read.
    """
    if path.is_dir():
        return Directory(path)
    if path.is_file() and listings.is_one(path):
        return Listed(listings.read(path), path)
    if path.is_file():
        return _archive(path, suffixes)
    if not path.exists():
        raise DataError(
            f"data.path: {str(path)!r} does not exist, seen from {str(Path.cwd())!r}. Name the directory of the "
            f"{_called(suffixes)}, or an archive of it (.zip, .tar, .tar.gz)."
        )
    raise DataError(f"data.path: must be a directory or an archive (.zip, .tar, .tar.gz). Got {str(path)!r}.")


def _called(suffixes: tuple[str, ...] | None) -> str:
    return "images" if suffixes == SUFFIXES else "files"


class Directory:
    """root: an existing directory."""

    cheap_to_open = True
    waits = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = os.path.realpath(root)

    def entries(self) -> Sequence[Entry]:
        return held(self.walk())

    def walk(self) -> Iterator[Entry]:
        """`entries` one after the other: of what is below, only the names in the folders being walked are held."""
        pending = [self._inside("")]
        while pending:
            found = next(pending[-1], None)
            if found is None:
                pending.pop()
                continue
            path, entry = found
            if entry.is_dir(follow_symlinks=False) and not hidden(entry.name):
                pending.append(self._inside(path))
            else:
                yield named(path, self._problem(entry))

    def _inside(self, folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        try:
            with os.scandir(self.root / folder) as found:
                inside = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                f"data.path: {plain(str(self.root / folder))} must be readable. Got: {error.strerror}. "
                "Change its permissions."
            ) from None
        return ((f"{folder}/{entry.name}" if folder else entry.name, entry) for entry in inside)

    def _problem(self, entry: os.DirEntry[str]) -> Problem | None:
        if hidden(entry.name):
            return Problem(IGNORED, "hidden directory" if os.path.isdir(entry.path) else "hidden file")
        if entry.is_symlink():
            return self._problem_of_link(entry)
        if not entry.is_file():
            return Problem(QUARANTINED, "not a regular file", SPECIAL)
        return None

    def _problem_of_link(self, entry: os.DirEntry[str]) -> Problem | None:
        """A link to a file is followed wherever it leads: DVC hashes what is there."""
        if os.path.isdir(entry.path):
            return LINKED
        target = os.path.realpath(entry.path)
        if not os.path.exists(target):
            return Problem(QUARANTINED, "broken link", f"to {os.readlink(entry.path)}")
        if not stat.S_ISREG(os.stat(target).st_mode):
            return Problem(QUARANTINED, "not a regular file", SPECIAL)
        return None

    def size(self, path: str) -> int:
        return os.stat(f"{self.root}/{path}").st_size

    def open(self, path: str) -> IO[bytes]:
        return open(f"{self.root}/{path}", "rb")

    def read(self, path: str) -> bytes:
        with self.open(path) as file:
            return file.read()

    def stamp(self, path: str) -> str | None:
        return file_stamp(f"{self._real}/{path}")


LARGE_BYTES = 2**24
"""Of a member: with larger ones an archive is read by threads of one process, which share the memory for them."""

UNPACKING = Room(2**30)
"""What is being unpacked at once, however many threads there are."""

PIECE_BYTES = 2**20

INFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Methods that are unpacked piece by piece; with others, zipfile makes gigabytes of a few bytes before it looks."""


class Archive:
    """A .zip. If all its directories are in one, as in most archives, that one is not part of the paths."""

    waits = False

    def __init__(self, path: Path, stamp: str | None) -> None:
        self._zip = zipfile.ZipFile(path)
        self._stamp = stamp
        members = [(info.filename.replace("\\", "/"), info) for info in self._zip.infolist() if not info.is_dir()]
        tops = {name.split("/", 1)[0] for name, _ in members if "/" in name and not hidden(name)}
        top = f"{tops.pop()}/" if len(tops) == 1 else ""
        names = {name for name, _ in members}
        if any(f"{top}{name}" in names for name in names if "/" not in name):
            top = ""  # a file beside the directory has the name of one in it
        self._members = {name.removeprefix(top): info for name, info in members}
        self._overridden = len(members) - len(self._members)
        self.cheap_to_open = all(info.file_size <= LARGE_BYTES for info in self._members.values())

    def entries(self) -> Sequence[Entry]:
        ordered = sorted(self._members, key=lambda path: path.split("/"))
        earlier = [Entry(f"(earlier member {i + 1})", OVERRIDDEN) for i in range(self._overridden)]
        return [*(named(path, self._problem(path)) for path in ordered), *earlier]

    def _problem(self, path: str) -> Problem | None:
        info = self._members[path]
        if hidden(path):
            return Problem(IGNORED, "hidden file")
        if path.startswith("/") or ".." in path.split("/"):
            return Problem(QUARANTINED, "unusable name", "leaves the archive")
        if info.file_size > MOST_BYTES or info.comment == CLAIMS_TOO_MUCH:
            return Problem(QUARANTINED, "too large", f"more than {MOST_BYTES // 2**20} MB unpacked")
        mode = info.external_attr >> 16
        if stat.S_ISLNK(mode):
            return Problem(QUARANTINED, "link in an archive", "add the file itself")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            return Problem(QUARANTINED, "not a regular file", SPECIAL)
        if info.flag_bits & 1:
            return Problem(QUARANTINED, "encrypted", "unpack the archive with its password")
        return None

    def _info(self, path: str) -> zipfile.ZipInfo:
        try:
            return self._members[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "not in the archive") from None

    def size(self, path: str) -> int:
        return self._info(path).file_size

    def open(self, path: str) -> IO[bytes]:
        """All of it in memory: a compressed member cannot be read at any place."""
        return io.BytesIO(self.read(path))

    def read(self, path: str) -> bytes:
        info = self._info(path)
        if info.compress_type not in INFLATED:
            raise OSError(errno.EIO, "packed by another method than deflate; pack the archive again")
        content = io.BytesIO()
        try:
            with UNPACKING.taken(info.file_size), self._zip.open(info) as member:
                # In pieces: `ZipFile.read` unpacks all there is before it looks at the size that the archive claims.
                shutil.copyfileobj(member, content, PIECE_BYTES)
            return content.getvalue()
        except Exception as error:  # BadZipFile, zlib.error, LZMAError, NotImplementedError have no common base
            raise OSError(errno.EIO, f"damaged in the archive: {error}") from None

    def stamp(self, path: str) -> str | None:
        info = self._members[path]
        return self._stamp and f"{self._stamp} {path} {info.CRC} {info.file_size}"


PACKED = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|7z|rar|tar\.\w+)$", re.IGNORECASE)
"""Names of archives."""


def _not_of_archives(archive: Archive, path: Path, suffixes: tuple[str, ...] | None) -> Archive:
    """The archive. Raises DataError where it holds other archives in the place of what is looked for."""
    if suffixes is None:
        return archive
    names = [entry.path for entry in archive.entries() if entry.problem is None]
    inside = [name for name in names if PACKED.search(name)]
    if inside and not any(name.lower().endswith(suffixes) for name in names):
        raise DataError(
            f"data.path: {path} must be an archive of {_called(suffixes)}. It holds archives instead: "
            f"{listing(inside, 4)}. Unpack it once, and name what comes out (pack it again where it is several)."
        )
    return archive


OVERRIDDEN = Problem(IGNORED, "overridden by a later member of the same name")


def _archive(path: Path, suffixes: tuple[str, ...] | None) -> Archive:
    try:
        if zipfile.is_zipfile(path):
            return _not_of_archives(Archive(path, file_stamp(os.path.realpath(path))), path, suffixes)
        if tarfile.is_tarfile(path):
            copy = packed(path, UNPACKED)
            return _not_of_archives(Archive(copy, copy.name), path, suffixes)
    except DataError:
        raise
    except Exception as error:  # BadZipFile, TarError, zlib.error, LZMAError, UnicodeError have no common base
        if getattr(error, "errno", None) in FULL:
            raise  # the disk is full, which is no fault of the archive
        raise DataError(
            f"data.path: {path} must be a whole archive. Got: {' '.join(str(error).split())}. Fetch it again."
        ) from None
    raise DataError(
        f"data.path: must be a directory or a whole archive (.zip, .tar, .tar.gz). {path} is neither, or is damaged."
    )
