"""Arrays of one file and of several: the same values, and files that stay as they are when rows are added."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graft.errors import StaleError
from graft.features import ahead, arrays, store

VALUES = np.random.default_rng(0).normal(size=(11, 3, 2, 5)).astype(np.float16)

FOUR_ROWS = 4 * 3 * 2 * 5 * 2 + 7
"""Bytes, and a few beyond."""


def write(folder: Path, values: np.ndarray) -> None:
    writer = arrays.Writer(folder, values.shape, str(values.dtype))
    places = [(row, view) for row in range(len(values)) for view in range(values.shape[1])]
    for number in np.random.default_rng(1).permutation(len(places)):
        row, view = places[number]
        writer.put(row, view, values[row, view])
    writer.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {name: file.read_bytes() for name, file in arrays.files(folder).items()}


@pytest.fixture
def several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with VALUES in three files."""
    monkeypatch.setattr(arrays, "FILE_BYTES", FOUR_ROWS)
    folder = tmp_path / "several"
    write(folder, VALUES)
    return folder


def test_up_to_a_size_an_array_is_one_file_as_numpy_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "FILE_BYTES", VALUES.nbytes)
    write(tmp_path / "one", VALUES)
    np.save(tmp_path / "array.npy", VALUES)
    assert contents(tmp_path / "one") == {"array.npy": (tmp_path / "array.npy").read_bytes()}
    monkeypatch.setattr(arrays, "FILE_BYTES", VALUES.nbytes - 1)
    write(tmp_path / "two", VALUES)
    assert sorted(contents(tmp_path / "two")) == ["array-00000.npy", "array-00001.npy"]


def test_each_file_is_an_array_of_its_rows(several: Path) -> None:
    parts = [np.load(several / f"array-0000{number}.npy") for number in range(3)]
    assert [len(part) for part in parts] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(parts), VALUES)


def test_several_files_are_read_as_one_array(several: Path) -> None:
    array = arrays.load(arrays.files(several))
    assert (array.shape, array.dtype) == (VALUES.shape, VALUES.dtype)
    rows = np.array([9, 0, 4, 10, 4, 3])
    views = np.array([0, 2, 1, 0, 2, 1])
    for some in (rows, rows[:0], rows - 11, slice(None), slice(3, 9, 2), slice(20, 30), np.arange(11) % 3 == 1):
        np.testing.assert_array_equal(array[some], VALUES[some])
        np.testing.assert_array_equal(array[some, 0], VALUES[some, 0])
    np.testing.assert_array_equal(array[rows, views], VALUES[rows, views])
    assert array[rows, views].dtype == VALUES.dtype
    with pytest.raises(IndexError):
        array[np.array([0, 11])]


def test_rows_that_are_added_leave_full_files_as_they_are(several: Path, tmp_path: Path) -> None:
    grown = tmp_path / "grown"
    write(grown, np.concatenate([VALUES, VALUES[:2]]))
    before, after = contents(several), contents(grown)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"array-00002.npy", "array-00003.npy"}


def test_a_row_that_is_larger_than_a_file_may_be_has_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "FILE_BYTES", 1)
    write(tmp_path, VALUES[:3])
    assert len(arrays.files(tmp_path)) == 3
    np.testing.assert_array_equal(arrays.load(arrays.files(tmp_path))[:], VALUES[:3])


SHA256S = [str(number) for number in range(len(VALUES))]


def described(folder: Path) -> None:
    meta = store.Meta({}, {}, VALUES.shape, "float16", store.examples_digest(SHA256S))
    store.write_meta(folder, meta)


def test_examples_and_views_are_the_same_from_several_files(several: Path) -> None:
    described(several)
    stored = store.require(several, SHA256S)
    whole = store.Stored(VALUES, stored.meta)
    rows = np.array([10, 2, 7, 3])
    np.testing.assert_array_equal(stored.plain(rows), whole.plain(rows))
    np.testing.assert_array_equal(stored.drawn(rows, 7, 1), whole.drawn(rows, 7, 1))


def test_what_is_read_next_is_announced_of_each_file(several: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described(several)
    stored = store.require(several, SHA256S)
    told: list[tuple[str, list[int], int]] = []
    monkeypatch.setattr(
        ahead, "announce", lambda array, entries, size: told.append((array.filename.name, list(entries), size))
    )
    view_bytes = VALUES[0, 0].nbytes
    stored.plain(np.array([10, 2, 7, 3]))
    assert told == [(f"array-0000{i}.npy", rows, view_bytes) for i, rows in enumerate([[6, 9], [9], [6]])]
    told.clear()
    stored.every(np.array([10, 2]))
    assert told == [("array-00000.npy", [2], 3 * view_bytes), ("array-00002.npy", [2], 3 * view_bytes)]
    told.clear()
    stored._read(np.array([1, 9, 3]), np.array([2, 0, 1]))
    assert told == [("array-00000.npy", [5, 10], view_bytes), ("array-00002.npy", [3], view_bytes)]


@pytest.mark.parametrize("name", ["array-00000.npy", "array-00001.npy", "array-00002.npy"])
def test_an_array_that_lacks_a_file_is_refused(name: str, several: Path) -> None:
    described(several)
    (several / name).unlink()
    with pytest.raises(StaleError, match=r"Run `dvc repro`\.$"):
        store.load(several, SHA256S)


def test_files_that_are_not_of_one_array_are_refused(several: Path) -> None:
    described(several)
    np.save(several / "array-00001.npy", VALUES[:2])
    with pytest.raises(StaleError, match="files that are no array together"):
        store.load(several, SHA256S)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    described(tmp_path)
    with pytest.raises(StaleError, match=r"must hold what `graft extract` writes. Got: no file array\.npy"):
        store.load(tmp_path, SHA256S)


def test_what_is_written_anew_leaves_no_file_of_before(several: Path) -> None:
    described(several)
    store.begin(several)
    assert list(several.iterdir()) == []
