"""Images through the model: some at a time, a bounded number of requests waiting, each within its time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from graft.inputs.batches import stacked
from graft.runtime.cores import available

if TYPE_CHECKING:
    from graft.features.engines.base import Forward
    from graft.serving.classifier import Classifier

T = TypeVar("T")

BESIDE = 1
"""Threads beyond one for each core: one decodes while the others compute."""


class BusyError(Exception):
    """As many requests wait as may."""


class LateError(Exception):
    """A request has taken longer than it may."""


@dataclass(frozen=True)
class Limits:
    """body_bytes, images, seconds: of one request, at most. waiting: requests at once, running ones among them."""

    body_bytes: int = 32 * 2**20
    images: int = 256
    waiting: int = 256
    seconds: float = 30.0


class Work:
    """A classifier with threads that run it."""

    def __init__(self, classifier: Classifier, forward: Forward, limits: Limits) -> None:
        self.classifier, self.limits = classifier, limits
        self._forward = forward
        self._pool = ThreadPoolExecutor(available() + BESIDE, thread_name_prefix="graft")
        self.waiting = 0

    async def probabilities(self, images: Sequence[Any]) -> np.ndarray:
        """(n, n_classes) float32. Raises DataError where an image is none, BusyError, LateError."""
        size = self._forward.batch_size
        stop = threading.Event()
        parts = [
            (lambda start=start: self._part(stop, start, images[start : start + size]))
            for start in range(0, len(images), size)
        ]
        try:
            return np.concatenate(await self.done(parts))
        finally:
            stop.set()

    async def done(self, parts: Sequence[Callable[[], T]]) -> list[T]:
        """What each of `parts` gives, on the threads. Raises BusyError, LateError, and what a part raises."""
        if self.waiting >= self.limits.waiting:
            raise BusyError
        self.waiting += 1
        try:
            futures = [asyncio.wrap_future(self._pool.submit(part)) for part in parts]
            return await asyncio.wait_for(asyncio.gather(*futures), self.limits.seconds)
        except TimeoutError:
            raise LateError from None
        finally:
            self.waiting -= 1

    def _part(self, stop: threading.Event, start: int, images: Sequence[Any]) -> np.ndarray:
        """stop: set where nobody waits for the answer any more."""
        rows = []
        for place, one in enumerate(images, start=start + 1):
            if stop.is_set():
                return np.empty((0, len(self.classifier.classes)), np.float32)
            rows.append((("", 0), self.classifier.example(one, place)))
        return self._forward.run(stacked(rows)[1])[0]
