"""Verdicts on files by the sha256 of their bytes, and the sha256 of unchanged files: a part of graft's cache.

LMDB: several processes may read and write, and a process that is killed leaves it whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import lmdb
import PIL
import simplejpeg

from graft.cache import folder_for
from graft.progress import say

RULES = f"4 {PIL.__version__} {simplejpeg.__version__}"
"""What a verdict depends on beside the bytes. Raise the number when `examine` says something else."""

MAP_BYTES = 2**30


@dataclass(frozen=True)
class Verdict:
    """width, height: of the upright image, pixels, 0 if unknown. format: Pillow's name for it, "" if unknown.

    perceptual_hash: 32 bytes, or none where there is no structure to compare. reason, detail: as in
    UndecodableError, "" for an image. decoded: False where it was too large to be.
    """

    width: int
    height: int
    format: str
    frames: int = 1
    perceptual_hash: bytes = b""
    reason: str = ""
    detail: str = ""
    decoded: bool = True


class Store:
    """Looks up and keeps verdicts. One that cannot be opened keeps nothing, after saying so."""

    def __init__(self, folder: Path) -> None:
        self._database: lmdb.Environment | None = None
        try:
            self._database = lmdb.open(str(folder), map_size=MAP_BYTES, max_readers=512)
        except lmdb.Error as error:
            say(f"note: {folder} cannot be used ({error}); going on without. It may be deleted at any time.")

    @staticmethod
    def opened() -> Store:
        """The one of this process: LMDB must not be opened twice in one."""
        return _opened(folder_for("verdicts"))

    def known(self, stamps: Sequence[str | None], max_pixels: int) -> Iterator[tuple[str, int, Verdict] | None]:
        """(sha256, bytes, verdict) of each file that has not changed since it was examined, else None."""
        for stamp in stamps:
            value = None if stamp is None else self._get(_stamp_key(stamp))
            if value is None:
                yield None
                continue
            sha256, n_bytes = value[:32].hex(), int.from_bytes(value[32:])
            verdict = self.verdict(sha256, max_pixels)
            yield None if verdict is None else (sha256, n_bytes, verdict)

    def verdict(self, sha256: str, max_pixels: int) -> Verdict | None:
        """The verdict on these bytes; None where there is none, or where it was given under a smaller `max_pixels`."""
        value = self._get(_verdict_key(sha256))
        if value is None:
            return None
        fields = json.loads(value)
        verdict = Verdict(**{**fields, "perceptual_hash": bytes.fromhex(fields["perceptual_hash"])})
        return verdict if verdict.decoded or verdict.width * verdict.height > max_pixels else None

    def keep(self, examined: Sequence[tuple[str | None, str, int, Verdict | None]]) -> None:
        """(stamp, sha256, bytes, verdict) of files; those without a verdict are passed over."""
        pairs = []
        for stamp, sha256, n_bytes, verdict in examined:
            if verdict is None:
                continue
            fields = asdict(verdict) | {"perceptual_hash": verdict.perceptual_hash.hex()}
            pairs.append((_verdict_key(sha256), json.dumps(fields).encode()))
            if stamp is not None:
                pairs.append((_stamp_key(stamp), bytes.fromhex(sha256) + n_bytes.to_bytes(8)))
        self._put(pairs)

    def _get(self, key: bytes) -> bytes | None:
        found = self._tried(lambda database: _get(database, key))
        return found if isinstance(found, bytes) else None

    def _put(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        self._tried(lambda database: _put(database, pairs))

    def _tried(self, action: Callable[[lmdb.Environment], bytes | None]) -> bytes | None:
        """What cannot be kept or looked up costs time only: said once, then gone on without."""
        if self._database is None:
            return None
        try:
            try:
                return action(self._database)
            except lmdb.MapResizedError:  # by another process
                self._database.set_mapsize(0)
            except lmdb.MapFullError:
                self._database.set_mapsize(2 * self._database.info()["map_size"])
            return action(self._database)
        except lmdb.Error as error:
            say(f"note: verdicts cannot be kept ({error}); going on without")
            self._database = None
            return None


def _get(database: lmdb.Environment, key: bytes) -> bytes | None:
    with database.begin() as transaction:
        value = transaction.get(key)
        return None if value is None else bytes(value)


def _put(database: lmdb.Environment, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    with database.begin(write=True) as transaction:
        for key, value in pairs:
            transaction.put(key, value)


@cache
def _opened(folder: Path) -> Store:
    return Store(folder)


def _stamp_key(stamp: str) -> bytes:
    return b"stamp" + hashlib.blake2b(stamp.encode("utf-8", "surrogateescape"), digest_size=20).digest()


def _verdict_key(sha256: str) -> bytes:
    return b"verdict" + hashlib.blake2b(f"{RULES} {sha256}".encode(), digest_size=20).digest()
