"""What a process that works for another does: it starts once, then takes block after block.

It is told everything as it starts. An error that the user can mend is an answer like any other, so that the process
that asked can raise it as its own. Nothing here knows Ray.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from graft.errors import DataError, GraftError, StaleError
from graft.runtime import cores

BLOCK, ITEMS = "block", "items"
"""Columns of what a worker is given, one row: the block's number, and its items, pickled."""

ERROR = "error"
"""The one column of an answer that is an error, pickled."""

TRIES = 3
"""An item on which so many processes died is not tried once more."""

Columns = dict[str, np.ndarray]
"""What is said of some items, in columns of the same length, with a row or more for each of them."""

Begun = Callable[[str], int]
"""Told what is begun, it gives how often that was, in all processes together."""


class Work(Protocol):
    """What is to be done with each item; it can be pickled.

    errors: kinds of error that are answers. shared: what every machine must have, for who reads an error from one.
    """

    errors: ClassVar[tuple[type[Exception], ...]]
    shared: ClassVar[str]

    def begin(self) -> Callable[[Sequence[Any]], Columns]:
        """In the process that works, once: gives what it then does with the items of a block."""

    def name(self, item: Any) -> str:
        """By which an item is counted, and no other one."""

    def died(self, item: Any) -> GraftError:
        """What is raised of an item on which TRIES processes died."""


@dataclass(frozen=True)
class Place:
    """folder: of the project, where paths in params.yaml start. machine: of the process that asks. threads: of each
    worker."""

    folder: str
    machine: str
    threads: int

    @classmethod
    def here(cls, threads: int) -> Place:
        return cls(os.getcwd(), socket.gethostname(), threads)


class Worker:
    """Does the work, block by block. What keeps it from starting is its answer to every block."""

    def __init__(self, work: Work, begun: Begun, place: Place) -> None:
        self._work, self._begun, self._place = work, begun, place
        self._fault: Exception | None = None
        os.environ[cores.VARIABLE] = str(place.threads)
        if Path(place.folder).is_dir():  # else this is another machine, where only whole paths lead anywhere
            os.chdir(place.folder)
        try:
            self._do = work.begin()
        except work.errors as error:
            self._fault = error

    def __call__(self, given: Mapping[str, np.ndarray]) -> Columns:
        """What is said of a block's items; or an error."""
        try:
            if self._fault is not None:
                raise self._fault
            return self._answer(f"{BLOCK} {given[BLOCK][0]}", pickle.loads(given[ITEMS][0]))
        except self._work.errors as error:
            return {ERROR: np.array([pickle.dumps(self._with_machine(error))], object)}

    def _answer(self, name: str, items: Sequence[Any]) -> Columns:
        """Item by item where a process died on the block: if one of them was the reason, that shows."""
        if self._begun(name) == 1:
            return self._do(items)
        parts = []
        for item in items:
            if self._begun(f"item {self._work.name(item)}") > TRIES:
                raise self._work.died(item)
            parts.append(self._do([item]))
        return {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}

    def _with_machine(self, error: Exception) -> Exception:
        """The same; where it was on another machine, saying on which."""
        here = socket.gethostname()
        if here == self._place.machine:
            return error
        where = f"That was on {here}, a machine of the Ray cluster."
        if isinstance(error, (StaleError, DataError)):
            where += f" {self._work.shared}"
        return type(error)(f"{error} {where}")
