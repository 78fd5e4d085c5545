"""A .tar, compressed or not, as an uncompressed .zip in graft's cache.

The copy is named by the sha256 of the tar and by its own. What has another content than its name says is not used:
a disk's errors, a copy that was cut short, a file that others have put there. Who makes a copy of other images and
names it by their sha256 is not found out; let those share a cache who may change each other's files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from graft.errors import DataError
from graft.runtime.cache import ARCHIVES, file_stamp, folder_for, new_file, regular
from graft.runtime.database import Database
from graft.runtime.progress import say

MOST_BYTES = 2**29
"""Of a member that is unpacked into memory: more than the pixels that `data.max_pixels` allows by default."""

CLAIMS_TOO_MUCH = b"claims too much"
"""The comment of a member that was left out of the copy for its size."""


def packed(path: Path, wanted: tuple[str, ...]) -> Path:
    """The copy of a tar, made where there is none that is whole. wanted: endings of names whose content is copied.

    Raises DataError where the tar is not whole, or becomes too large, or the cache cannot be written.
    """
    folder, sha256 = folder_for(ARCHIVES), _sha256(path)
    for copy in sorted(folder.glob(f"{sha256}-*.zip")):
        if _whole(copy):
            return copy
        say(f"note: {copy} is damaged, or no file of graft's; not used")
        with suppress(OSError):  # another user's
            copy.unlink()
    say(f"{path}: copying into {folder}, once, since a tar cannot be read at random")
    with tarfile.open(path) as tar, new_file(folder) as file:
        with zipfile.ZipFile(file, "w") as out, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a name that comes twice
            _copy(tar, out, wanted, max(LEAST_LIMIT, MOST_RATIO * path.stat().st_size), path)
            _require_whole(tar, path)
        file.flush()
        os.fsync(file.fileno())
        copy = folder / f"{sha256}-{_digest(Path(file.name)).hex()}.zip"
        os.replace(file.name, copy)
    return copy


def _whole(copy: Path) -> bool:
    try:
        return regular(copy) and copy.stem.endswith(f"-{_sha256(copy)}")
    except OSError:
        return False


def _sha256(path: Path) -> str:
    """Of a file, which is read in full where it may have changed since."""
    stamp, known = file_stamp(os.path.realpath(path)), Database.opened("digests")
    key = None if stamp is None else hashlib.blake2b(os.fsencode(stamp), digest_size=20).digest()
    (found,) = known.get([key])
    if found is None:
        found = _digest(path)
        if key is not None:
            known.put([(key, found)])
    return found.hex()


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


LEAST_LIMIT, MOST_RATIO = 2**30, 100
"""What an archive may become, in bytes or as a multiple of its own: images are compressed already."""


def _copy(tar: tarfile.TarFile, out: zipfile.ZipFile, wanted: tuple[str, ...], most_bytes: int, path: Path) -> None:
    """What is wanted, piece by piece; of other members the name, so that they are accounted for.

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
        if not name.lower().endswith(wanted):
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
