"""Examples on their way before they are asked for, where reading waits for a network and not for this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from graft.examples.sources import listing
from graft.inputs.batches import Read, Task
from graft.runtime.reading.storage import AT_ONCE

MOST = 2 * AT_ONCE
"""Examples that are on their way, or wait here to be asked for."""


@contextmanager
def reading(read: Read, tasks: Sequence[Task], root: Path) -> Iterator[Read]:
    """`read` itself; of what a listing names, one that has the next of `tasks` on their way. root: data.path."""
    if not listing.is_one(root):
        yield read
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            yield _Ahead(read, tasks, pool)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Ahead:
    """A `Read`. What is asked for out of turn is read at once, and not again."""

    def __init__(self, read: Read, tasks: Sequence[Task], pool: ThreadPoolExecutor) -> None:
        self._read, self._pool = read, pool
        self._lock = Lock()
        self._following = iter(tasks)
        self._out_of_turn: set[str] = set()
        self._begun: dict[str, Future[bytes]] = {}

    def __call__(self, path: str, sha256: str) -> bytes:
        with self._lock:
            found = self._begun.pop(path, None)
            if found is None:
                self._out_of_turn.add(path)
            while len(self._begun) < MOST and (following := next(self._following, None)):
                if following.path not in self._out_of_turn:
                    self._begun[following.path] = self._pool.submit(self._read, following.path, following.sha256)
        return self._read(path, sha256) if found is None else found.result()
