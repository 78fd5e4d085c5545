"""The files that a listing names, read where they lie: each as it is wanted, none copied to a disk here."""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from graft.errors import StaleError
from graft.examples.sources.base import IGNORED, Problem, plain
from graft.examples.sources.entry import Entry, held, hidden, named
from graft.examples.sources.listing import File, Listing
from graft.runtime.reading import marks, patience, storage

T = TypeVar("T")

BLOCK_BYTES = 2**22
"""Of what is read here and there; the next block comes while one is used."""

MOST_BLOCKS = 24

OF_CONTENT = re.compile(r"[0-9a-f]{32}(-\d+)?|md5:.+")
"""Marks that a storage makes of the bytes: the same in another bucket."""


class Listed:
    """file: the listing's own, for messages."""

    cheap_to_open = False
    waits = True

    def __init__(self, listing: Listing, file: Path) -> None:
        self.root = listing.root
        self._files, self._file = listing.files, file
        self._kind = storage.protocol(listing.root)
        self._away = False  # or the last try has shown that waiting is in vain

    def entries(self) -> Sequence[Entry]:
        ordered = sorted(self._files, key=lambda path: path.split("/"))
        return held(named(path, Problem(IGNORED, "hidden file") if hidden(path) else None) for path in ordered)

    def size(self, path: str) -> int:
        size = self._of(path).size
        return len(self.read(path)) if size is None else size

    def read(self, path: str) -> bytes:
        """Raises OSError for what is not listed, StaleError where it is not as listed any more, else DataError."""
        file = self._of(path)

        def whole() -> bytes:
            filesystem, place = self._at(path)
            content = marks.read(filesystem, self._kind, place, file.mark)
            _require_size(file, len(content))
            return content

        return self._tried(path, whole)

    def open(self, path: str) -> IO[bytes]:
        """To be read here and there, in blocks. Raises as `read` does, when it is read, too."""
        file = self._of(path)

        def at_start() -> Any:
            filesystem, place = self._at(path)
            info = filesystem.info(place)
            marks.require(file.mark, marks.of(info))
            _require_size(file, info.get("size"))
            return filesystem.open(
                place, "rb", block_size=BLOCK_BYTES, cache_type="background", cache_options={"maxblocks": MOST_BLOCKS}
            )

        opened = self._tried(path, at_start)
        return io.BufferedReader(_Blocks(opened, lambda action: self._tried(path, action)), io.DEFAULT_BUFFER_SIZE)

    def stamp(self, path: str) -> str | None:
        """By the content alone where its mark tells it: another bucket's copy is the same file."""
        file = self._of(path)
        if not file.mark:
            return None
        if self._kind not in storage.WEB and OF_CONTENT.fullmatch(file.mark):
            return f"listed {file.size} {file.mark}"
        return f"{self.root}/{path} {file.size} {file.mark}"

    def _of(self, path: str) -> File:
        try:
            return self._files[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "not in the listing") from None

    def _at(self, path: str) -> tuple[Any, str]:
        filesystem, root = storage.opened(self.root)
        return filesystem, storage.below(root, path, self._kind in storage.WEB)

    def _tried(self, path: str, action: Callable[[], T]) -> T:
        address = plain(f"{self.root}/{path}")
        try:
            found = action() if self._away else patience.patiently(action)
            self._away = False
            return found
        except StaleError:
            raise
        except Exception as error:
            if not isinstance(error, marks.ChangedError) and not patience.is_gone(error):
                self._away = True
                storage.fail(address, "read", error)
            how = f"changed ({error})" if isinstance(error, marks.ChangedError) else "is gone"
            raise StaleError(
                f"{address}: {how} since it was listed in {self._file}. Run `graft data list`, which says what else "
                "is different, then `dvc repro`."
            ) from None


def _require_size(file: File, size: int | None) -> None:
    if None not in (file.size, size) and file.size != size:
        raise marks.ChangedError(f"it had {file.size} bytes, and has {size}")


class _Blocks(io.RawIOBase):
    """A file of fsspec's, whose every reading is tried as often as it must be."""

    def __init__(self, opened: Any, tried: Callable[[Callable[[], bytes]], bytes]) -> None:
        self._opened, self._tried = opened, tried

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._opened.seek(offset, whence))

    def tell(self) -> int:
        return int(self._opened.tell())

    def readinto(self, buffer: Any) -> int:
        content = self._tried(lambda: self._opened.read(len(buffer)))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self._opened.close()
        super().close()
