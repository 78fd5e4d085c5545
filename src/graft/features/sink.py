"""Where results go: the arrays on disk, and the cache that makes them known for ever."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from graft.features import arrays, store
from graft.features.cache import FeatureCache

if TYPE_CHECKING:
    from graft.features.plan import Output, Plan
    from graft.inputs.batches import Key

LOOK_UP = 256
"""Examples whose values are looked up at a time."""

KEEP_EVERY_SECONDS = 2.0
"""What was computed is written to the cache this often: all that a killed process loses."""

Missing = dict[tuple[str, ...], dict[str, list[int]]]
"""Outputs -> sha256 -> the views of which exactly these outputs are not known; examples in their first row's order."""


class Sink:
    """The outputs of a plan. sha256s: of the used examples, a row each; equal examples stand in several rows.

    A context: whatever ends it, what was computed is kept. `meta.json` is written by `finish` alone.
    """

    def __init__(self, plan: Plan, sha256s: Iterable[str]) -> None:
        self._plan = plan
        self._rows: dict[str, list[int]] = {}
        for row, sha256 in enumerate(sha256s):
            self._rows.setdefault(sha256, []).append(row)
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

    def fill(self) -> Missing:
        """Write what the cache knows; returns what it does not."""
        lacking: dict[tuple[str, int], list[str]] = {}
        unique = list(self._rows)
        for start in range(0, len(unique), LOOK_UP):
            some = unique[start : start + LOOK_UP]
            for view in range(self._plan.views):
                keys = [(sha256, view) for sha256 in some]
                for name, output in self._outputs.items():
                    for key in output.fill(keys, self._rows):
                        lacking.setdefault(key, []).append(name)
        missing: Missing = {}
        for (sha256, view), names in sorted(lacking.items(), key=lambda item: (self._rows[item[0][0]][0], item[0][1])):
            for together in [(name,) for name in names] if self._plan.apart else [tuple(names)]:
                missing.setdefault(together, {}).setdefault(sha256, []).append(view)
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


class _OutputSink:
    """One array and the two caches of its values: of examples as they are, and of views, which depend on more."""

    def __init__(self, output: Output) -> None:
        store.begin(output.folder)
        self._writer = arrays.Writer(output.folder, output.meta.shape, output.meta.dtype)
        self.caches = [FeatureCache(key, output.part) for key in output.keys[: 1 + (output.meta.shape[1] > 1)]]
        self._waiting: list[tuple[Key, np.ndarray]] = []
        self._kept = time.monotonic()

    def fill(self, keys: Sequence[Key], rows: Mapping[str, list[int]]) -> list[Key]:
        """Write what is known of `keys`, which are all of view 0 or none is; returns the others."""
        found = self.caches[keys[0][1] > 0].get(keys)
        for key, value in zip(keys, found, strict=True):
            if value is not None:
                self._write(key, value, rows)
        return [key for key, value in zip(keys, found, strict=True) if value is None]

    def put(self, keys: Sequence[Key], values: np.ndarray, rows: Mapping[str, list[int]]) -> None:
        for key, value in zip(keys, values, strict=True):
            self._write(key, value, rows)
            self._waiting.append((key, value))
        if time.monotonic() - self._kept > KEEP_EVERY_SECONDS:
            self._keep()

    def _write(self, key: Key, value: np.ndarray, rows: Mapping[str, list[int]]) -> None:
        sha256, view = key
        for row in rows[sha256]:
            self._writer.put(row, view, value)

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
