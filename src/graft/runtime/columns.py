"""Rows held as columns that grow at their end, in a tenth of the memory that Python's objects would take.

A str takes 49 bytes beside its characters, and 8 more wherever it is listed; in a column it takes its characters and 8,
and of many the characters are in a file, which the system reads as they are needed. What a column holds is made anew
each time that it is asked for.
"""

from __future__ import annotations

import mmap
import weakref
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import accumulate, islice, pairwise
from operator import attrgetter
from typing import IO, Any, TypeVar, overload

import numpy as np
import pandas as pd
import pyarrow as pa

from graft.runtime import cache

T = TypeVar("T")
V = TypeVar("V", bound=Hashable)
N = TypeVar("N", int, float)

HELD_BYTES = 2**20
"""Of a column, before it becomes a file: projects of some thousand images write none."""

AT_A_TIME = 1024
"""Rows that are objects, before they become parts of columns."""

ENCODING = "utf-8", "surrogateescape"
"""Of texts; the name of a file may have bytes that are no UTF-8."""


class Column(Sequence[T]):
    """Values, added at the end."""

    def extend(self, values: Iterable[T]) -> None:
        raise NotImplementedError

    def one(self, place: int) -> T:
        """The value at a place from 0 on."""
        raise NotImplementedError

    @overload
    def __getitem__(self, places: int) -> T: ...

    @overload
    def __getitem__(self, places: slice) -> list[T]: ...

    def __getitem__(self, places: int | slice) -> T | list[T]:
        chosen = range(len(self))[places]
        return self.one(chosen) if isinstance(chosen, int) else [self.one(place) for place in chosen]


class Content:
    """Bytes that grow at their end: in memory, or beyond HELD_BYTES in a file without a name, which is mapped."""

    def __init__(self) -> None:
        self._held, self._n_bytes = bytearray(), 0
        self._file: IO[bytes] | None = None
        self._mapped: mmap.mmap | None = None
        self._may_move = True

    def add(self, some: bytes | memoryview) -> None:
        """Raises OSError where the file's disk is full."""
        self._n_bytes += len(some)
        if self._n_bytes > HELD_BYTES and self._may_move:
            self._move()
        if self._file is None:
            self._held += some
        else:
            _write(self._file, some)

    def _move(self) -> None:
        """Into a file; where there can be none, all stays in memory."""
        self._may_move = False
        self._file = cache.unnamed_file()
        if self._file is not None:
            weakref.finalize(self, self._file.close)
            _write(self._file, self._held)
            self._held = bytearray()

    @property
    def all(self) -> bytearray | mmap.mmap:
        """Never to be changed. What is added later is not in it."""
        if self._file is None:
            return self._held
        if self._mapped is None or len(self._mapped) < self._n_bytes:
            self._mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._mapped


def _write(file: IO[bytes], some: bytes | bytearray | memoryview) -> None:
    """All of it: a file without a buffer may take a part."""
    left = memoryview(some).cast("B")
    while left:
        left = left[file.write(left) :]


class Pieces(Column[bytes]):
    """Byte strings, one behind the other."""

    def __init__(self, pieces: Iterable[bytes] = ()) -> None:
        self._content, self.ends = Content(), array("q", [0])
        self.extend(pieces)

    @property
    def content(self) -> bytearray | mmap.mmap:
        """All of them that there are so far."""
        return self._content.all

    def __len__(self) -> int:
        return len(self.ends) - 1

    def extend(self, values: Iterable[bytes]) -> None:
        added = list(values)
        self._content.add(b"".join(added))
        self.ends.extend(islice(accumulate(map(len, added), initial=self.ends[-1]), 1, None))

    def add(self, pieces: pa.Array) -> None:
        """Pieces that pyarrow has, large ones."""
        ends = np.frombuffer(pieces.buffers()[1], np.int64)[pieces.offset : pieces.offset + len(pieces) + 1]
        self._content.add(memoryview(pieces.buffers()[2] or b"")[ends[0] : ends[-1]])
        self.ends.frombytes((ends[1:] - ends[0] + self.ends[-1]).tobytes())

    def one(self, place: int) -> bytes:
        return bytes(self.content[self.ends[place] : self.ends[place + 1]])

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64, in bytes."""
        return np.diff(np.frombuffer(self.ends, np.int64))


class Texts(Column[str]):
    """Strings that differ, as paths do."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._pieces = Pieces()
        iterator = iter(texts)
        while some := list(islice(iterator, AT_A_TIME)):
            self.extend(some)

    def __len__(self) -> int:
        return len(self._pieces)

    def extend(self, values: Iterable[str]) -> None:
        self._pieces.extend(value.encode(*ENCODING) for value in values)

    def add(self, texts: pa.Array) -> None:
        """Texts that pyarrow has, large ones."""
        self._pieces.add(texts)

    def one(self, place: int) -> str:
        return self._pieces.one(place).decode(*ENCODING)

    def __iter__(self) -> Iterator[str]:
        content = memoryview(self._pieces.content)
        return (str(content[start:end], *ENCODING) for start, end in pairwise(self._pieces.ends))

    def series(self) -> pd.Series:
        """The same memory as pandas's strings; nothing can be added from then on."""
        buffers = pa.py_buffer(self._pieces.ends), pa.py_buffer(self._pieces.content)
        column: pd.Series = pa.LargeStringArray.from_buffers(len(self), *buffers).to_pandas()
        return column


class Few(Column[V]):
    """Values of which few differ, as labels: each of them once, and its number wherever it stands."""

    def __init__(self, values: Iterable[V] = ()) -> None:
        self._numbers: dict[V, int] = {}
        self._values: list[V] = []
        self._places = array("i")
        self.extend(values)

    def __len__(self) -> int:
        return len(self._places)

    def extend(self, values: Iterable[V]) -> None:
        self._places.extend(map(self._number, values))

    def _number(self, value: V) -> int:
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self._values)
            self._values.append(value)
        return number

    def one(self, place: int) -> V:
        return self._values[self._places[place]]

    def __iter__(self) -> Iterator[V]:
        return map(self._values.__getitem__, self._places)

    @property
    def distinct(self) -> list[V]:
        """Each value once, in the order in which they came."""
        return self._values

    @property
    def places(self) -> np.ndarray:
        """(n,) int32, of each value among the distinct ones."""
        return np.frombuffer(self._places, np.int32)

    def series(self, of: Callable[[V], Any] = lambda value: value) -> pd.Series:
        """What `of` makes of each value, as pandas has it."""
        distinct = pd.Series(list(map(of, self._values)), dtype=None if self._values else "str")
        return distinct.take(self.places).reset_index(drop=True)


class Numbers(Column[N]):
    """Numbers of one kind. code: of the kind, as `array` calls it: q for int, d for float."""

    def __init__(self, code: str) -> None:
        self._numbers = array(code)

    def __len__(self) -> int:
        return len(self._numbers)

    def extend(self, values: Iterable[N]) -> None:
        self._numbers.extend(values)  # type: ignore[arg-type]

    def add(self, numbers: pa.Array) -> None:
        """Numbers of this kind that pyarrow has."""
        self._numbers.frombytes(numbers.to_numpy().tobytes())

    def one(self, place: int) -> N:
        return self._numbers[place]

    def __iter__(self) -> Iterator[N]:
        return iter(self._numbers)

    @property
    def values(self) -> np.ndarray:
        """(n,), the same memory."""
        return np.asarray(self._numbers)

    def series(self) -> pd.Series:
        """The same memory."""
        return pd.Series(self.values, copy=False)


class Rows(Column[T]):
    """Rows of a dataclass. columns: empty ones for its fields by name; those that have none are `Few`.

    Rows that are read are compared by `==`: they are never the same object.
    """

    def __init__(self, kind: type[T], columns: Mapping[str, Column[Any]], rows: Iterable[T]) -> None:
        self._kind = kind
        self.columns: dict[str, Any] = {one.name: columns.get(one.name, Few()) for one in fields(kind)}  # type: ignore[arg-type]
        self.extend(rows)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __iter__(self) -> Iterator[T]:
        return map(self._kind, *self.columns.values())

    def extend(self, values: Iterable[T]) -> None:
        iterator = iter(values)
        while some := list(islice(iterator, AT_A_TIME)):
            for name, column in self.columns.items():
                column.extend(map(attrgetter(name), some))

    def one(self, place: int) -> T:
        return self._kind(*(column.one(place) for column in self.columns.values()))
