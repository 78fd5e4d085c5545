"""Features of single examples as files that travel: what another place lacks goes there, what is lacking here comes.

A pack is a parquet file with a row for each example and view, called by the sha256 of its own bytes; it lies in a
folder called as the fingerprint, beside what describes that. Packs are only added: nobody overwrites what another put
there.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Collection, Iterator
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
    """backbone: for a reader. name: of the fingerprint. n_values: how many of its values were moved."""

    backbone: str
    name: str
    n_values: int


def push(there: Place, wanted: Collection[bytes]) -> Iterator[Moved]:
    """Put into a place what it lacks of this cache, one fingerprint after the other.

    wanted: the sha256 of the examples that count: a user's cache has those of other projects, too.
    """
    packs = _packs(there)
    for one in cache.held():
        name = one.folder.name
        database = Database.opened(f"{cache.KIND}/{name}")
        known = {key for pack in packs.get(name, []) for key in _keys(there, pack)}
        lacking = sorted({key for key in database.all_keys() if key[:SHA256_BYTES] in wanted} - known)
        if lacking and not packs.get(name):
            there.put(one.folder / cache.WHAT, f"{cache.KIND}/{name}/{cache.WHAT}")
        moved = sum(_put(there, name, pairs) for pairs in _parts(database, lacking))
        yield Moved(one.backbone, name, moved)


def pull(there: Place, wanted: Collection[bytes] | None) -> Iterator[Moved]:
    """Bring what this cache lacks. wanted: the sha256 of the examples that count; None: of whatever there is."""
    for name, packs in _packs(there).items():
        known = set(_here(name))
        moved = 0
        for pack in packs:
            keys = {key for key in _keys(there, pack) if wanted is None or key[:SHA256_BYTES] in wanted} - known
            if keys and _is_described(there, name) and (n_values := _get(there, pack, name, keys)):
                moved += n_values
                known |= keys
        if moved:
            backbone = next((one.backbone for one in cache.held() if one.folder.name == name), name)
            yield Moved(backbone, name, moved)


def _packs(there: Place) -> dict[str, list[str]]:
    """Fingerprint -> its packs."""
    found: dict[str, list[str]] = {}
    for path in there.names(cache.KIND):
        name, _, file = path.partition("/")
        if file.endswith(SUFFIX) and "/" not in file:
            found.setdefault(name, []).append(f"{cache.KIND}/{path}")
    return found


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
    keys, values = zip(*pairs, strict=True)
    table = pa.table({"key": pa.array(keys, pa.binary()), "value": pa.array(values, pa.large_binary())})
    with tempfile.TemporaryDirectory(prefix="graft-pack-") as folder:
        file = Path(folder) / f"pack{SUFFIX}"
        pq.write_table(table, file, compression="zstd", use_dictionary=False)
        there.put(file, f"{cache.KIND}/{name}/{_sha256(file)}{SUFFIX}")
    return len(pairs)


def _get(there: Place, pack: str, name: str, keys: Collection[bytes]) -> int:
    """Bring these values of a pack, if its bytes are those by which it is called."""
    with tempfile.TemporaryDirectory(prefix="graft-pack-") as folder:
        file = Path(folder) / f"pack{SUFFIX}"
        there.get(pack, file)
        if _sha256(file) != Path(pack).stem:
            say(f"note: {pack} in the remote is damaged; left out")
            return 0
        moved = 0
        database = Database.opened(f"{cache.KIND}/{name}")
        for batch in pq.ParquetFile(file).iter_batches(1024):
            rows = zip(batch["key"].to_pylist(), batch["value"].to_pylist(), strict=True)
            pairs = [(key, value) for key, value in rows if key in keys]
            database.put(pairs)
            moved += len(pairs)
        database.release()
        return moved


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
