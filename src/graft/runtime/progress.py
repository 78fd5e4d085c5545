"""Progress of long work: a bar with images/s and time left in a terminal, quiet lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

LOG_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class Tracked:
    """Work that is done. n: examples. seconds: of all of it. each: seconds for one of those after the first to come,
    with which all starts; None where there were no others."""

    what: str
    n: int
    seconds: float
    each: float | None


tracked: list[Tracked] = []
"""All that `track` has seen to its end in this process."""

_hushes: list[None] = []


def say(message: str) -> None:
    """One line to standard error, where it does not mix with a command's result."""
    if not _hushes:
        tqdm.write(message, file=sys.stderr)


@contextmanager
def hushed() -> Iterator[None]:
    """Inside, nothing is said, in no thread; bars are shown."""
    _hushes.append(None)
    try:
        yield
    finally:
        _hushes.pop()


def track(
    items: Iterable[T], total: int | None, what: str, size: Callable[[T], int] = lambda _: 1, unit: str = "images"
) -> Iterator[T]:
    """Yield `items`, showing how many of `total` examples are done, their rate and the time left.

    total: None where nobody knows; then there is no time left to show. size: how many examples an item stands for.
    unit: what these are called.
    In a terminal this is a bar; elsewhere one line per half minute and one at the end.
    """
    terminal = sys.stderr.isatty()
    start = began = last = time.monotonic()
    done = first = 0
    bar = tqdm(total=total, desc=what, unit=f" {unit}", disable=not terminal, file=sys.stderr)
    with bar:
        for item in items:
            yield item
            n = size(item)
            done += n
            if not first:  # what starts before the first one comes is no measure of the others
                first, began = n, time.monotonic()
                bar.start_t = bar.last_print_t = began
            bar.update(n)
            now = time.monotonic()
            if not terminal and done > first and now - last > LOG_EVERY_SECONDS:
                rate = (done - first) / (now - began)
                of_all = f"{done}/{total}" if total is not None else f"{done}"
                left = f", {(total - done) / rate:.0f} s left" if total is not None else ""
                say(f"{what}: {of_all}, {rate:.0f} {unit}/s{left}")
                last = now
    end = time.monotonic()
    seconds = max(end - start, 1e-9)
    tracked.append(Tracked(what, done, seconds, (end - began) / (done - first) if done > first else None))
    say(f"{what}: {done} {unit} in {seconds:.1f} s, {done / seconds:.0f} {unit}/s")
