"""Where the members of a tar shard lie: gone through in sequence, once, and kept in graft's cache."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from graft.errors import DataError
from graft.examples.sources.tables.table import decoded
from graft.runtime.database import Database

TEXTS = ("cls", "txt", "json")
"""Last endings of members that are read as they are passed."""

MOST_TEXT_BYTES = 2**16

KIND, VERSION = "shards", b"1"
"""Of the cache; and of what is kept there."""


@dataclass(frozen=True)
class Index:
    """members: name -> (offset of the content, its bytes), in the order of the tar. texts: name -> content."""

    members: dict[str, tuple[int, int]]
    texts: dict[str, str]


def of(stamp: str | None, file: str, open_shard: Callable[[], IO[bytes]]) -> Index:
    """The index of a shard, as it is kept or made now. stamp: as `Reader.stamp` gives; None where nothing is kept.

    Raises DataError for what is no whole tar, and what `open_shard` raises.
    """
    key = _key(stamp)
    (known,) = Database.opened(KIND).get([key])
    found = known and _unpacked(known)
    if not found:
        with open_shard() as stream:
            found = _gone_through(stream, file)
        if key is not None:
            Database.opened(KIND).put([(key, _packed(found))])
    return found


def _gone_through(stream: IO[bytes], file: str) -> Index:
    members, texts = {}, {}
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if not member.isreg() or member.issparse():
                    continue
                members[member.name] = (member.offset_data, member.size)
                if member.name.rpartition(".")[2].lower() in TEXTS and member.size <= MOST_TEXT_BYTES:
                    content = tar.extractfile(member)
                    texts[member.name] = decoded(content.read() if content else b"", f"{file}, {member.name}")
    except (tarfile.TarError, EOFError) as error:
        raise DataError(
            f"data.manifest.file: {file} must be a whole tar that is not compressed, since its members are read in "
            f"place. Got: {error}. Fetch it again, or unpack it with gunzip."
        ) from None
    return Index(members, texts)


def _key(stamp: str | None) -> bytes | None:
    if stamp is None:
        return None
    return VERSION + hashlib.blake2b(stamp.encode("utf-8", "surrogateescape"), digest_size=20).digest()


def _packed(index: Index) -> bytes:
    return zlib.compress(json.dumps([index.members, index.texts]).encode())


def _unpacked(value: bytes) -> Index | None:
    with suppress(ValueError, TypeError, zlib.error):
        members, texts = json.loads(zlib.decompress(value))
        return Index({name: (offset, size) for name, (offset, size) in members.items()}, texts)
    return None
