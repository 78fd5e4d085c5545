"""A directory, or an archive that is not unpacked into it, as a tree of files.

A .zip is read in place. A .tar, compressed or not, has no index: it is copied once, member by member, into an
uncompressed .zip in graft's cache, named by the archive's sha256.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Protocol

from graft.errors import DataError, listing
from graft.examples.sources.base import IGNORED, QUARANTINED, Problem, Reader, plain
from graft.inputs.image.formats import SUFFIXES
from graft.runtime.cache import ARCHIVES, file_stamp, folder_for
from graft.runtime.progress import say

SPECIAL = "a pipe, socket or device"
UNUSABLE = Problem(QUARANTINED, "unusable name", "control characters, or bytes that are not UTF-8")
LINKED = Problem(QUARANTINED, "link to a directory", "DVC does not see what changes below it; copy it here")
OF_SYSTEMS = {"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"}
"""Folders that archivers, network disks and systems make; what is in them is nobody's image."""

TABLES = (".csv", ".tsv", ".parquet", ".txt", ".json", ".jsonl")
UNPACKED = (*SUFFIXES, *TABLES)
"""Names of members that are taken out of an archive."""


@dataclass(frozen=True)
class Entry:
    """A file, or what stands in the place of one. path: relative, with forward slashes; quoted where unusable."""

    path: str
    problem: Problem | None = None


class Tree(Reader, Protocol):
    """Files by their relative paths."""

    def entries(self) -> list[Entry]:
        """In the order of the paths' parts, those with a problem too; a hidden directory or a link is one entry."""

    def open(self, path: str) -> IO[bytes]:
        """A file to be read at any place. Raises OSError."""


def open_tree(path: Path) -> Tree:
    """Raises DataError where `path` is neither a directory nor an archive that can be read."""
    if path.is_dir():
        return Directory(path)
    if path.is_file():
        return _archive(path)
    if not path.exists():
        raise DataError(
            f"data.path: {str(path)!r} does not exist, seen from {str(Path.cwd())!r}. Name the directory of the "
            "images, or an archive of it (.zip, .tar, .tar.gz)."
        )
    raise DataError(f"data.path: must be a directory or an archive (.zip, .tar, .tar.gz). Got {str(path)!r}.")


def _entry(path: str, problem: Problem | None) -> Entry:
    shown = plain(path)
    return Entry(path, problem) if shown == path else Entry(shown, UNUSABLE)


def _hidden(path: str) -> bool:
    return any(part in OF_SYSTEMS or (part.startswith(".") and part not in (".", "..")) for part in path.split("/"))


class Directory:
    """root: an existing directory."""

    cheap_to_open = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = os.path.realpath(root)

    def entries(self) -> list[Entry]:
        return list(self._walk())

    def _walk(self) -> Iterator[Entry]:
        pending = [self._inside("")]
        while pending:
            found = next(pending[-1], None)
            if found is None:
                pending.pop()
                continue
            path, entry = found
            if entry.is_dir(follow_symlinks=False) and not _hidden(entry.name):
                pending.append(self._inside(path))
            else:
                yield _entry(path, self._problem(entry))

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
        if _hidden(entry.name):
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


MOST_BYTES = 2**29
"""Of a member that is unpacked into memory: more than the pixels that `data.max_pixels` allows by default."""

CLAIMS_TOO_MUCH = b"claims too much"
"""The comment of a member that was left out of the copy of a tar for its size."""


class Archive:
    """A .zip. If all its directories are in one, as in most archives, that one is not part of the paths."""

    cheap_to_open = True

    def __init__(self, path: Path, stamp: str | None) -> None:
        self._zip = zipfile.ZipFile(path)
        self._stamp = stamp
        members = [(info.filename.replace("\\", "/"), info) for info in self._zip.infolist() if not info.is_dir()]
        tops = {name.split("/", 1)[0] for name, _ in members if "/" in name and not _hidden(name)}
        top = f"{tops.pop()}/" if len(tops) == 1 else ""
        names = {name for name, _ in members}
        if any(f"{top}{name}" in names for name in names if "/" not in name):
            top = ""  # a file beside the directory has the name of one in it
        self._members = {name.removeprefix(top): info for name, info in members}
        self._overridden = len(members) - len(self._members)

    def entries(self) -> list[Entry]:
        ordered = sorted(self._members, key=lambda path: path.split("/"))
        earlier = [Entry(f"(earlier member {i + 1})", OVERRIDDEN) for i in range(self._overridden)]
        return [*(_entry(path, self._problem(path)) for path in ordered), *earlier]

    def _problem(self, path: str) -> Problem | None:
        info = self._members[path]
        if _hidden(path):
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
        try:
            return self._zip.read(info)
        except Exception as error:  # BadZipFile, zlib.error, LZMAError, NotImplementedError have no common base
            raise OSError(errno.EIO, f"damaged in the archive: {error}") from None

    def stamp(self, path: str) -> str | None:
        info = self._members[path]
        return self._stamp and f"{self._stamp} {path} {info.CRC} {info.file_size}"


PACKED = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|7z|rar|tar\.\w+)$", re.IGNORECASE)
"""Names of archives."""


def _not_of_archives(archive: Archive, path: Path) -> Archive:
    """The archive. Raises DataError where it holds other archives in the place of images."""
    names = [entry.path for entry in archive.entries() if entry.problem is None]
    inside = [name for name in names if PACKED.search(name)]
    if inside and not any(name.lower().endswith(SUFFIXES) for name in names):
        raise DataError(
            f"data.path: {path} must be an archive of images. It holds archives instead: {listing(inside, 4)}. Unpack "
            "it once, and name what comes out (pack it again where it is several)."
        )
    return archive


OVERRIDDEN = Problem(IGNORED, "overridden by a later member of the same name")


def _archive(path: Path) -> Archive:
    try:
        if zipfile.is_zipfile(path):
            return _not_of_archives(Archive(path, file_stamp(os.path.realpath(path))), path)
        if tarfile.is_tarfile(path):
            return _not_of_archives(_packed(path), path)
    except DataError:
        raise
    except Exception as error:  # BadZipFile, TarError, zlib.error, LZMAError, UnicodeError have no common base
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise  # the disk is full, which is no fault of the archive
        raise DataError(
            f"data.path: {path} must be a whole archive. Got: {' '.join(str(error).split())}. Fetch it again."
        ) from None
    raise DataError(
        f"data.path: must be a directory or a whole archive (.zip, .tar, .tar.gz). {path} is neither, or is damaged."
    )


def _packed(path: Path) -> Archive:
    """The tar as an uncompressed zip in the cache, made where it is not there, or not whole."""
    packed = folder_for(ARCHIVES) / f"{_sha256(str(path), file_stamp(os.path.realpath(path)))}.zip"
    if packed.exists():
        try:
            return Archive(packed, packed.name)
        except (OSError, zipfile.BadZipFile):
            say(f"note: {packed} is damaged; made anew")
    else:
        say(f"{path}: copying into {packed.parent}, once, since a tar cannot be read at random")
    with tempfile.NamedTemporaryFile(dir=packed.parent, suffix=".part", delete=False) as part:
        try:
            with tarfile.open(path) as tar, zipfile.ZipFile(part, "w") as out, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a name that comes twice
                _copy(tar, out, max(LEAST_LIMIT, MOST_RATIO * path.stat().st_size), path)
                _require_whole(tar, path)
            part.flush()
            os.fsync(part.fileno())
            os.replace(part.name, packed)
        except BaseException:
            os.unlink(part.name)
            raise
    return Archive(packed, packed.name)


@cache
def _sha256(path: str, stamp: str | None) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


LEAST_LIMIT, MOST_RATIO = 2**30, 100
"""What an archive may become, in bytes or as a multiple of its own: images are compressed already."""


def _copy(tar: tarfile.TarFile, out: zipfile.ZipFile, most_bytes: int, path: Path) -> None:
    """Images and tables, piece by piece; of other members the name, so that they are accounted for.

    Raises DataError where the archive becomes more than `most_bytes`.
    """
    unpacked = 0
    for member in tar:
        if member.isdir():
            continue
        name = member.name.removeprefix("./").encode("utf-8", "backslashreplace").decode()
        info = zipfile.ZipInfo(name)
        source: IO[bytes] | None = None
        if member.isreg() or member.islnk():
            try:
                source = tar.extractfile(member)
            except KeyError:  # a link to what is not in the archive
                source = None
        if source is None:
            linked = member.issym() or member.islnk()
            info.external_attr = (stat.S_IFLNK if linked else stat.S_IFIFO) << 16
            out.writestr(info, b"")
            continue
        info.external_attr = (stat.S_IFREG | 0o644) << 16
        if not name.lower().endswith(UNPACKED):
            out.writestr(info, b"")
            continue
        if member.size > MOST_BYTES:
            info.comment = CLAIMS_TOO_MUCH
            out.writestr(info, b"")
            continue
        unpacked += member.size
        if unpacked > most_bytes:
            raise DataError(
                f"data.path: {path} must be an archive of images. Its members take more than {most_bytes / 1e9:.1f} GB "
                "unpacked, which no images do. Fetch it again, or unpack it yourself and name the directory."
            )
        with out.open(info, "w") as target:
            shutil.copyfileobj(source, target, 2**20)


def _require_whole(tar: tarfile.TarFile, path: Path) -> None:
    """tarfile takes a damaged header, or the end of the file, for the end of the archive. Raises DataError."""
    file: Any = tar.fileobj
    file.seek(tar.offset)
    rest = bytearray()
    while block := file.read(2**20):  # to its end, where a compressed file's checksum is
        if block.strip(b"\0"):
            raise DataError(
                f"data.path: {path} must be a whole archive. Got: a damaged header at byte {tar.offset}, or another "
                "archive behind the first. Fetch it again, or pack it again as one."
            )
        rest += block[: tarfile.BLOCKSIZE]
    if len(rest) < tarfile.BLOCKSIZE:
        raise DataError(
            f"data.path: {path} must be a whole archive. Got: no end after byte {tar.offset}. Fetch it again."
        )
