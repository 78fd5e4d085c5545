"""Examples through the model: some at a time, a bounded number of requests waiting, each within its time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from graft.inputs.batches import stacked
from graft.runtime.cores import available
from graft.server.limits import ALONE, Limits

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


class Work:
    """A classifier, or several heads on one network, with threads that run it.

    classifier: whose card says how an example becomes the input. cards: of each output of the network, by its name; by
    default the classifier's own.
    """

    def __init__(
        self,
        classifier: Classifier,
        forward: Forward,
        limits: Limits,
        cards: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.classifier, self.limits, self.cards = classifier, limits, cards or {ALONE: classifier.card}
        self._forward = forward
        self._pool = ThreadPoolExecutor(available() + BESIDE, thread_name_prefix="graft")
        self.waiting = 0

    async def probabilities(self, examples: Sequence[Any]) -> list[np.ndarray]:
        """(n, n_classes) float32 of each output of the network. Raises DataError where an example is none, BusyError,
        LateError."""
        size = self._forward.batch_size
        stop = threading.Event()
        parts = [
            (lambda start=start: self._part(stop, start, examples[start : start + size]))
            for start in range(0, len(examples), size)
        ]
        try:
            outputs = zip(*await self.done(parts), strict=True)
            return [np.concatenate(some) for some in outputs]
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

    def _part(self, stop: threading.Event, start: int, examples: Sequence[Any]) -> tuple[np.ndarray, ...]:
        """stop: set where nobody waits for the answer any more."""
        rows = []
        for place, one in enumerate(examples, start=start + 1):
            if stop.is_set():
                return ()
            rows.append((("", 0), self.classifier.example(one, place)))
        return self._forward.run(stacked(rows)[1])
