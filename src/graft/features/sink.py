"""Where results go: the arrays on disk, and the cache that makes them known for ever."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from graft.features import arrays, store
from graft.features.cache import FeatureCache
from graft.features.tasks import Tasks

if TYPE_CHECKING:
    from graft.features.plan import Output, Plan
    from graft.inputs.batches import Key

LOOK_UP = 256
"""Examples whose values are looked up at a time."""

KEEP_EVERY_SECONDS = 2.0
"""What was computed is written to the cache this often: all that a killed process loses."""

Missing = dict[tuple[str, ...], Tasks]
"""Outputs -> the views of which exactly these outputs are not known; examples in their first row's order."""


class Sink:
    """The outputs of a plan. examples: path and sha256 of the used ones; equal ones stand in several rows.

    A context: whatever ends it, what was computed is kept. `meta.json` is written by `finish` alone.
    """

    def __init__(self, plan: Plan, examples: pd.DataFrame) -> None:
        self._plan, self._examples = plan, examples
        self._rows = _Rows(examples["sha256"])
        for other in plan.others:
            store.begin(other.folder)
        self._outputs = {name: _OutputSink(output) for name, output in plan.outputs.items()}

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        for output in self._outputs.values():
            output.close()

    @property
    def cache_names(self) -> set[str]:
        """The names of the parts of the cache that belong to the plan."""
        return {one.name for output in self._outputs.values() for one in output.caches}

    @property
    def n_examples(self) -> int:
        """How many there are, equal ones counted once."""
        return self._rows.n_examples

    def fill(self) -> Missing:
        """Write what the cache knows; returns what it does not."""
        missing: Missing = {}
        for start in range(0, self._rows.n_examples, LOOK_UP):
            firsts = self._rows.firsts[start : start + LOOK_UP]
            some = list(self._examples["sha256"].iloc[firsts])
            lacking: dict[str, dict[int, list[str]]] = {sha256: {} for sha256 in some}
            for view in range(self._plan.views):
                keys = [(sha256, view) for sha256 in some]
                for name, output in self._outputs.items():
                    for sha256, _ in output.fill(keys, self._rows):
                        lacking[sha256].setdefault(view, []).append(name)
            for first, views in zip(firsts.tolist(), lacking.values(), strict=True):
                views_of: dict[tuple[str, ...], list[int]] = {}
                for view, names in views.items():
                    for together in [(name,) for name in names] if self._plan.apart else [tuple(names)]:
                        views_of.setdefault(together, []).append(view)
                for together, numbers in views_of.items():
                    missing.setdefault(together, Tasks(self._examples)).add(first, numbers)
        return missing

    def put(self, keys: Sequence[Key], results: Mapping[str, np.ndarray]) -> None:
        """results: output -> (len(keys), ...) as computed."""
        for name, values in results.items():
            self._outputs[name].put(keys, values, self._rows)

    def finish(self) -> None:
        """Everything is there: say what made it."""
        self.__exit__()
        for output in self._plan.outputs.values():
            store.write_meta(output.folder, output.meta)
        for output in self._plan.others:
            store.write_none(output.folder, output.meta, output.reason or "")


class _Rows:
    """In which rows an example stands: 40 bytes each, where a dict of a million takes 300.

    sha256s: of every row; equal examples stand in several. firsts: the first row of each.
    """

    def __init__(self, sha256s: Collection[str]) -> None:
        contents = _contents(sha256s)
        self._order = np.argsort(contents, kind="stable")
        self._sorted = contents[self._order]
        different = self._sorted[1:] != self._sorted[:-1]
        self.firsts = np.sort(self._order[np.insert(different, 0, True)] if len(contents) else self._order)

    @property
    def n_examples(self) -> int:
        """How many there are, each counted once."""
        return len(self.firsts)

    def of(self, sha256s: Sequence[str]) -> list[np.ndarray]:
        """The rows of each, ascending."""
        contents = _contents(sha256s)
        starts, stops = (np.searchsorted(self._sorted, contents, side) for side in ("left", "right"))
        return [self._order[start:stop] for start, stop in zip(starts, stops, strict=True)]


def _contents(sha256s: Collection[str]) -> np.ndarray:
    return np.fromiter(map(bytes.fromhex, sha256s), "S32", len(sha256s))


class _OutputSink:
    """One array and the two caches of its values: of examples as they are, and of views, which depend on more."""

    def __init__(self, output: Output) -> None:
        store.begin(output.folder)
        self._writer = arrays.Writer(output.folder, output.meta.shape, output.meta.dtype)
        self.caches = [FeatureCache(key, output.part) for key in output.keys[: 1 + (output.meta.shape[1] > 1)]]
        self._waiting: list[tuple[Key, np.ndarray]] = []
        self._kept = time.monotonic()

    def fill(self, keys: Sequence[Key], rows: _Rows) -> list[Key]:
        """Write what is known of `keys`, which are all of view 0 or none is; returns the others."""
        found = self.caches[keys[0][1] > 0].get(keys)
        known = [(key, value) for key, value in zip(keys, found, strict=True) if value is not None]
        self._write(known, rows)
        return [key for key, value in zip(keys, found, strict=True) if value is None]

    def put(self, keys: Sequence[Key], values: np.ndarray, rows: _Rows) -> None:
        computed = list(zip(keys, values, strict=True))
        self._write(computed, rows)
        self._waiting += computed
        if time.monotonic() - self._kept > KEEP_EVERY_SECONDS:
            self._keep()

    def _write(self, values: Sequence[tuple[Key, np.ndarray]], rows: _Rows) -> None:
        of_each = rows.of([sha256 for (sha256, _), _ in values])
        for ((_, view), value), chosen in zip(values, of_each, strict=True):
            for row in chosen:
                self._writer.put(int(row), view, value)

    def _keep(self) -> None:
        for augmented, one in enumerate(self.caches):
            values = [(key, value) for key, value in self._waiting if (key[1] > 0) == augmented]
            if values:
                one.put(values)
        self._waiting = []
        self._kept = time.monotonic()

    def close(self) -> None:
        self._keep()
        self._writer.close()
