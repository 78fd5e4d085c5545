"""Tar shards in WebDataset's layout (https://github.com/webdataset/webdataset): a sample is the members of one name.

`000.jpg` and `000.cls` are a row of a table, whose columns are `image`, the endings of the texts beside it (`cls`,
`txt`) and the keys of a `json`. An image has a path below its shard's own: `train-0000.tar/000.jpg`.

A tar has no index: a shard is gone through in sequence, once, and where its members lie is kept in graft's cache. Then
its images are read from it in place, wherever it lies.
"""

from __future__ import annotations

import errno
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import IO

from graft.errors import DataError
from graft.examples.sources.entry import Entry
from graft.examples.sources.tables import shard_index
from graft.examples.sources.tables.records import records_table
from graft.examples.sources.tables.table import Table
from graft.examples.sources.tree import Tree
from graft.inputs.image.formats import SUFFIXES
from graft.runtime.database import Database

SUFFIX = ".tar"
PATH = re.compile(r"(?P<file>.+\.tar)/(?P<member>.+)", re.IGNORECASE)
MEMBER = re.compile(r"(?P<key>(?:.*/)?[^/.]*)\.(?P<ending>[^/]+)")
IMAGE = "image"
AT_ONCE = 4
"""Shards that are gone through, or held open, at a time."""


def is_shard(file: str) -> bool:
    """Whether a file is called as shards are."""
    return file.lower().endswith(SUFFIX)


def is_one(path: str) -> bool:
    """Whether a path is that of a member of a shard."""
    return PATH.fullmatch(path) is not None


class Shards:
    """A tree, and the members of the shards in it."""

    cheap_to_open = False

    def __init__(self, tree: Tree) -> None:
        self.waits = tree.waits
        self._tree = tree
        self._lock = Lock()
        self._indices: dict[str, shard_index.Index] = {}
        self._learning = Lock()
        self._open: OrderedDict[str, tuple[IO[bytes], Lock]] = OrderedDict()

    def entries(self) -> Sequence[Entry]:
        return self._tree.entries()

    def open(self, path: str) -> IO[bytes]:
        return self._tree.open(path)

    def size(self, path: str) -> int:
        found = PATH.fullmatch(path)
        return self._tree.size(path) if found is None else self._place(found["file"], found["member"])[1]

    def read(self, path: str) -> bytes:
        found = PATH.fullmatch(path)
        if found is None:
            return self._tree.read(path)
        offset, size = self._place(found["file"], found["member"])
        if self.waits:
            content = self._from_open(found["file"], offset, size)
        else:
            with self._tree.open(found["file"]) as stream:
                content = _cut(stream, offset, size)
        if len(content) < size:
            raise OSError(errno.EIO, "cut short in its shard")
        return content

    def stamp(self, path: str) -> str | None:
        found = PATH.fullmatch(path)
        if found is None:
            return self._tree.stamp(path)
        of_shard = self._tree.stamp(found["file"])
        return of_shard and f"{of_shard} {found['member']}"

    def learn(self, files: Iterable[str]) -> None:
        """Go through several shards at a time. Raises DataError for what is no whole tar, OSError where none is."""
        Database.opened(shard_index.KIND)  # once, before several threads do
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.index, files))

    def index(self, file: str) -> shard_index.Index:
        """Where a shard's members lie. Raises as `learn`."""
        if file not in self._indices:
            self._indices[file] = shard_index.of(self._tree.stamp(file), file, lambda: self._tree.open(file))
        return self._indices[file]

    def table(self, file: str) -> Table:
        """A row for each sample of a shard."""
        index = self.index(file)
        samples: dict[str, dict[str, object]] = {}
        for name in index.members:
            part = MEMBER.fullmatch(name)
            if part is None:
                continue
            row = samples.setdefault(part["key"], {IMAGE: f"{file}/{part['key']}"})
            ending = part["ending"].lower()
            if f".{ending}" in SUFFIXES:
                row[IMAGE] = f"{file}/{name}"
            elif name in index.texts and ending != "json":
                row[ending] = index.texts[name].strip()
            elif name in index.texts:
                row |= _of_json(index.texts[name], f"{file}, {name}") | row
        return records_table(list(samples.values()), file, range(1, len(samples) + 1), "sample")

    def _place(self, file: str, member: str) -> tuple[int, int]:
        try:
            with self._learning:  # a shard that was not learned is gone through by one of the threads that read
                index = self.index(file)
            return index.members[member]
        except KeyError:
            raise OSError(errno.ENOENT, "no such member in the shard") from None

    def _from_open(self, file: str, offset: int, size: int) -> bytes:
        """Of a shard that stays open, so that one request brings what is read next, too."""
        while True:
            with self._lock:
                if file not in self._open:
                    self._open[file] = (self._tree.open(file), Lock())
                stream, turn = self._open[file]
                self._open.move_to_end(file)
                others = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - AT_ONCE)]
            for other, its_turn in others:
                with its_turn:
                    other.close()
            with turn:
                if not stream.closed:  # as where seven others have been read since
                    return _cut(stream, offset, size)


def _cut(stream: IO[bytes], offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)


def _of_json(text: str, where: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: must be JSON. Got: {error}. Correct the shard.") from None
    return found if isinstance(found, dict) else {"json": found}
