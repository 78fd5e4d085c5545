"""How much memory threads may fill at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Room:
    """So many bytes for all threads together; one that asks for more waits, and gets it alone."""

    def __init__(self, n_bytes: int) -> None:
        self._n_bytes, self._taken = n_bytes, 0
        self._changed = Condition()

    @contextmanager
    def taken(self, n_bytes: int) -> Iterator[None]:
        """Around what fills `n_bytes`."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken == 0 or self._taken + n_bytes <= self._n_bytes)
            self._taken += n_bytes
        try:
            yield
        finally:
            with self._changed:
                self._taken -= n_bytes
                self._changed.notify_all()
