"""Verdicts on files by the sha256 of their bytes, and the sha256 of unchanged files: a part of graft's cache."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache

import numpy as np
import PIL
import scipy
import simplejpeg

from graft.examining.image import examine
from graft.examining.image.examine import Verdict
from graft.pipeline import code
from graft.runtime.database import Database


@cache
def rules() -> dict[str, str]:
    """What a verdict depends on beside the bytes: the code that examines, and the libraries that decode."""
    return {
        "code": code.digest([examine.__name__]),
        "Pillow": PIL.__version__,
        "simplejpeg": simplejpeg.__version__,
        "scipy": scipy.__version__,
        "numpy": np.__version__,
    }


AS_HEX = ("perceptual_hash", "colours")
"""Fields of a verdict that are bytes, which JSON does not hold."""

Known = tuple[str, int, Verdict]
"""sha256, bytes, verdict"""


class VerdictCache:
    """Looks up and keeps verdicts."""

    def __init__(self) -> None:
        self._database = Database.opened("verdicts")
        rules()  # before threads ask for it side by side: Python 3.11 fails where many parse code at a time

    def unchanged(self, stamps: Sequence[str | None], max_pixels: int) -> list[Known | None]:
        """What is known of each file that has not changed since it was examined; None for others.

        stamps: as `Reader.stamp` gives.
        """
        noted = self._database.get([stamp and _stamp_key(stamp) for stamp in stamps])  # type: ignore[misc]
        files = [value and (value[:32].hex(), int.from_bytes(value[32:])) for value in noted]
        verdicts = self.by_content([file and file[0] for file in files], max_pixels)  # type: ignore[misc]
        return [(*file, verdict) if file and verdict else None for file, verdict in zip(files, verdicts, strict=True)]

    def by_content(self, sha256s: Sequence[str | None], max_pixels: int) -> list[Verdict | None]:
        """On these bytes; None where there is none, or where it was given under a smaller `max_pixels`."""
        values = self._database.get([sha256 and _verdict_key(sha256) for sha256 in sha256s])  # type: ignore[misc]
        return [value and _verdict(value, max_pixels) for value in values]  # type: ignore[misc]

    def keep(self, examined: Sequence[tuple[str | None, str, int, Verdict | None]]) -> None:
        """(stamp, sha256, bytes, verdict) of files; those without a verdict are passed over."""
        pairs = []
        for stamp, sha256, n_bytes, verdict in examined:
            if verdict is None:
                continue
            fields = asdict(verdict) | {name: getattr(verdict, name).hex() for name in AS_HEX}
            pairs.append((_verdict_key(sha256), json.dumps(fields).encode()))
            if stamp is not None:
                pairs.append((_stamp_key(stamp), bytes.fromhex(sha256) + n_bytes.to_bytes(8)))
        self._database.put(pairs)


def by_content(max_pixels: int) -> Callable[[str], Verdict | None]:
    """Looks up the verdict on these bytes, by their sha256, in the cache of this machine."""
    store = VerdictCache()
    return lambda sha256: store.by_content([sha256], max_pixels)[0]


def _verdict(value: bytes, max_pixels: int) -> Verdict | None:
    try:
        fields = json.loads(value)
        as_bytes = {name: bytes.fromhex(fields[name]) for name in AS_HEX}
        shared = {"format": sys.intern(fields["format"]), "remarks": tuple(map(tuple, fields["remarks"]))}
        verdict = Verdict(**fields | as_bytes | shared)
    except (ValueError, TypeError, KeyError):  # damaged, or of another time
        return None
    return verdict if verdict.decoded or verdict.width * verdict.height > max_pixels else None


def _stamp_key(stamp: str) -> bytes:
    return b"stamp" + hashlib.blake2b(stamp.encode("utf-8", "surrogateescape"), digest_size=20).digest()


def _verdict_key(sha256: str) -> bytes:
    return b"verdict" + hashlib.blake2b(f"{' '.join(rules().values())} {sha256}".encode(), digest_size=20).digest()
