"""Features of single examples as files that travel: what another place lacks goes there, what is lacking here comes.

A pack is a parquet file with a row for each example and view, called by the sha256 of its own bytes; it lies in a
folder called as the fingerprint, beside what describes that. Packs are only added: nobody overwrites what another put
there.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from graft.features import cache
from graft.runtime.cache import folder_for, new_file, place
from graft.runtime.database import Database
from graft.runtime.progress import say

SUFFIX = ".parquet"
PACK_BYTES = 2**28
"""Of the values in a pack, at most, but for one value that is larger."""

SHA256_BYTES = 32
"""A key begins with the sha256 of the example's bytes."""


class Place(Protocol):
    """Where packs lie."""

    def names(self, folder: str) -> list[str]: ...

    def put(self, file: Path, name: str) -> None: ...

    def get(self, name: str, file: Path) -> None: ...

    def open(self, name: str) -> IO[bytes]: ...


@dataclass(frozen=True)
class Moved:
    """backbone: for a reader. name: of the fingerprint. keys: of the values that moved. n_bytes: of their packs."""

    backbone: str
    name: str
    keys: frozenset[bytes]
    n_bytes: int

    @property
    def n_values(self) -> int:
        return len(self.keys)


def push(there: Place, wanted: Collection[bytes], only: Collection[str] | None = None) -> Iterator[Moved]:
    """Put into a place what it lacks of this cache, one fingerprint after the other.

    wanted: the sha256 of the examples that count: a user's cache has those of other projects, too. only: the names of
    the fingerprints that count; None: all.
    """
    for one in cache.held():
        name = one.folder.name
        if only is not None and name not in only:
            continue
        packs = _packs(there, name)
        database = Database.opened(f"{cache.KIND}/{name}")
        known = {key for pack in packs for key in _keys(there, pack)}
        lacking = sorted({key for key in database.all_keys() if key[:SHA256_BYTES] in wanted} - known)
        if lacking and not packs:
            there.put(one.folder / cache.WHAT, f"{cache.KIND}/{name}/{cache.WHAT}")
        moved: set[bytes] = set()
        n_bytes = 0
        for pairs in _parts(database, lacking):
            n_bytes += _put(there, name, pairs)
            moved |= {key for key, _ in pairs}
        yield Moved(one.backbone, name, frozenset(moved), n_bytes)


def pull(there: Place, wanted: Collection[bytes] | None) -> Iterator[Moved]:
    """Bring what this cache lacks. wanted: the sha256 of the examples that count; None: of whatever there is."""
    for name in sorted({path.partition("/")[0] for path in there.names(cache.KIND)}):
        known = set(_here(name))
        yield from _brought(
            there,
            name,
            lambda key: key not in known and (wanted is None or key[:SHA256_BYTES] in wanted),  # noqa: B023
        )


def fetch(there: Place, lacking: Mapping[str, Collection[bytes]]) -> Iterator[Moved]:
    """Bring what there is of these values. lacking: fingerprint -> keys."""
    for name, keys in lacking.items():
        yield from _brought(there, name, lambda key: key in keys)  # noqa: B023


def _brought(there: Place, name: str, wanted: Callable[[bytes], bool]) -> Iterator[Moved]:
    """What is wanted of a fingerprint's packs; nothing where there is none of it."""
    moved: set[bytes] = set()
    n_bytes = 0
    for pack in _packs(there, name):
        keys = {key for key in _keys(there, pack) if wanted(key)} - moved
        if keys and _is_described(there, name):
            found, size = _get(there, pack, name, keys)
            moved |= found
            n_bytes += size
    if moved:
        backbone = next((one.backbone for one in cache.held() if one.folder.name == name), name)
        yield Moved(backbone, name, frozenset(moved), n_bytes)


def _packs(there: Place, name: str) -> list[str]:
    """Of a fingerprint."""
    folder = f"{cache.KIND}/{name}"
    return [f"{folder}/{file}" for file in there.names(folder) if file.endswith(SUFFIX) and "/" not in file]


def _keys(there: Place, pack: str) -> list[bytes]:
    """Of a pack, without its values; none of one that is damaged."""
    try:
        with there.open(pack) as file:
            return list(pq.read_table(file, columns=["key"])["key"].to_pylist())
    except (pa.ArrowInvalid, KeyError):
        say(f"note: {pack} in the remote is damaged; left out")
        return []


def _parts(database: Database, keys: list[bytes]) -> Iterator[list[tuple[bytes, bytes]]]:
    """What a pack holds, one pack after the other; damaged values are left out."""
    pairs: list[tuple[bytes, bytes]] = []
    size = 0
    for key in keys:
        (value,) = database.get([key])
        if value is not None:
            if pairs and size + len(value) > PACK_BYTES:
                yield pairs
                pairs, size = [], 0
                database.release()
            pairs.append((key, value))
            size += len(value)
    if pairs:
        yield pairs


def _put(there: Place, name: str, pairs: list[tuple[bytes, bytes]]) -> int:
    """Bytes of the pack."""
    keys, values = zip(*pairs, strict=True)
    table = pa.table({"key": pa.array(keys, pa.binary()), "value": pa.array(values, pa.large_binary())})
    with tempfile.TemporaryDirectory(prefix="graft-pack-") as folder:
        file = Path(folder) / f"pack{SUFFIX}"
        pq.write_table(table, file, compression="zstd", use_dictionary=False)
        there.put(file, f"{cache.KIND}/{name}/{_sha256(file)}{SUFFIX}")
        return file.stat().st_size


def _get(there: Place, pack: str, name: str, keys: Collection[bytes]) -> tuple[set[bytes], int]:
    """Bring these values of a pack, if its bytes are those by which it is called: those that came, the pack's bytes."""
    with tempfile.TemporaryDirectory(prefix="graft-pack-") as folder:
        file = Path(folder) / f"pack{SUFFIX}"
        there.get(pack, file)
        if _sha256(file) != Path(pack).stem:
            say(f"note: {pack} in the remote is damaged; left out")
            return set(), 0
        moved: set[bytes] = set()
        database = Database.opened(f"{cache.KIND}/{name}")
        for batch in pq.ParquetFile(file).iter_batches(1024):
            rows = zip(batch["key"].to_pylist(), batch["value"].to_pylist(), strict=True)
            pairs = [(key, value) for key, value in rows if key in keys]
            database.put(pairs)
            moved |= {key for key, _ in pairs}
        database.release()
        return moved, file.stat().st_size


def has_here(name: str, keys: Sequence[bytes]) -> list[bool]:
    """Whether the cache has each of these values; no file is made where it has none of the fingerprint."""
    if not (place() / cache.KIND / name).is_dir():
        return [False] * len(keys)
    return Database.opened(f"{cache.KIND}/{name}").has(keys)


def _here(name: str) -> list[bytes]:
    """The keys of a fingerprint; none, and no file made, where the cache does not have it."""
    if not (place() / cache.KIND / name).is_dir():
        return []
    return Database.opened(f"{cache.KIND}/{name}").all_keys()


def _is_described(there: Place, name: str) -> bool:
    """Whether the cache says what the fingerprint is, from now on too: its name is the hash of what describes it."""
    with tempfile.TemporaryDirectory(prefix="graft-pack-") as folder:
        file = Path(folder) / cache.WHAT
        with suppress(OSError):
            there.get(f"{cache.KIND}/{name}/{cache.WHAT}", file)
        text = file.read_bytes() if file.is_file() else b""
    if not hashlib.sha256(text).hexdigest().startswith(name) or not text:
        say(f"note: {cache.KIND}/{name} in the remote is not what its name says; left out")
        return False
    target = folder_for(f"{cache.KIND}/{name}") / cache.WHAT
    if not target.exists():
        with new_file(target.parent) as made:
            made.write(text)
            made.flush()
            Path(made.name).replace(target)
    return True


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
