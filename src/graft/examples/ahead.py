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
        self._waiting = {task.path: task.sha256 for task in tasks}
        self._begun: dict[str, Future[bytes]] = {}

    def __call__(self, path: str, sha256: str) -> bytes:
        with self._lock:
            self._waiting.pop(path, None)
            found = self._begun.pop(path, None)
            while self._waiting and len(self._begun) < MOST:
                following = next(iter(self._waiting))
                self._begun[following] = self._pool.submit(self._read, following, self._waiting.pop(following))
        return self._read(path, sha256) if found is None else found.result()
