"""What is to be computed, as numbers: 12 bytes an example, where a task takes 500."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from graft.inputs.batches import Task
from graft.runtime.columns import AT_A_TIME, Column, Few, Numbers


class Tasks(Column[Task]):
    """Tasks of some of the examples. examples: path and sha256 of each."""

    def __init__(self, examples: pd.DataFrame) -> None:
        self._paths, self._sha256s = examples["path"], examples["sha256"]
        self._rows, self._views = Numbers[int]("q"), Few[tuple[int, ...]]()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: int, views: Iterable[int]) -> None:
        """views: of the example that stands in a row."""
        self._rows.extend([row])
        self._views.extend([tuple(views)])

    @property
    def n_views(self) -> int:
        return sum(map(len, self._views))

    def one(self, place: int) -> Task:
        row = self._rows.one(place)
        return Task(self._paths.iloc[row], self._sha256s.iloc[row], self._views.one(place))

    def __iter__(self) -> Iterator[Task]:
        views = iter(self._views)
        for start in range(0, len(self), AT_A_TIME):
            rows = self._rows.values[start : start + AT_A_TIME]
            yield from map(Task, self._paths.iloc[rows], self._sha256s.iloc[rows], views)
