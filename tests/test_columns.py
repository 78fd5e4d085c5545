"""Rows as columns: what goes in comes out, in whatever order it came, and a row takes few bytes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from conftest import PreparedData, data_params, write_drawings
from graft.errors import StaleError
from graft.examining.image.examine import Verdict
from graft.examples import catalogue, dataset, split
from graft.examples.checks import quarantine
from graft.examples.checks.examined import Examined, Looks
from graft.examples.checks.kinds import KINDS
from graft.examples.checks.runners import local
from graft.examples.sources.base import IGNORED, Item, Items, Problem, listed
from graft.examples.splitting.make import make_split
from graft.features.tasks import Tasks
from graft.inputs.batches import Task
from graft.runtime import columns
from graft.runtime.columns import AT_A_TIME, Few, Numbers, Pieces, Rows, Texts

N = 20_000
"""Of a generated catalogue: enough that what does not grow with it is little."""

LENGTH = 29 + 64 + 6
"""Characters of an example's path, sha256 and label."""


def items_of(n: int, problem: Problem | None = None) -> Items:
    return listed(Item(f"images/of/a/folder/{i:06d}.png", f"class{i % 7}", problem=problem) for i in range(n))


def examined(data: Any, paths: Sequence[str], runner: Any) -> Iterator[tuple[int, Examined[Verdict]]]:
    """A look of its own for each, the last ones first; of every hundredth, that it cannot be read."""
    for i in reversed(range(len(paths))):
        sha256 = hashlib.sha256(paths[i].encode())
        verdict = Verdict(40 + i % 9, 30, "PNG", sha256.digest(), bytes(192))
        found = Examined(sha256.hexdigest(), 100 + i, verdict)
        yield i, found if i % 100 else Examined("", 0, None, "input/output error")


KIND = replace(KINDS["image"], examine=examined)


def tabled(items: Items) -> tuple[pd.DataFrame, Rows[quarantine.Judged]]:
    data = data_params()
    found = quarantine.examined(items, KIND, data, local.run)
    return quarantine.tabled(items, found, data.kind), found


def test_columns_give_back_what_they_were_given() -> None:
    texts = ["", "é", "a\nb", "NA", "with \udcff in its name", *map(str, range(2 * AT_A_TIME))]
    column = Texts(texts)
    assert (len(column), list(column), column[1], column[-1], column[3:5]) == (
        len(texts), texts, "é", texts[-1], texts[3:5],
    )  # fmt: skip
    pieces = Pieces([b"ab", b"", b"cde"])
    assert (list(pieces), pieces.lengths.tolist()) == ([b"ab", b"", b"cde"], [2, 0, 3])
    few = Few(["a", None, "a"])
    assert (list(few), few[1], few.distinct, few.places.tolist()) == (["a", None, "a"], None, ["a", None], [0, 1, 0])
    numbers = Numbers[int]("q")
    numbers.extend([5, 2**40])
    assert (list(numbers), numbers[1], numbers.series().tolist()) == ([5, 2**40], 2**40, [5, 2**40])
    with pytest.raises(IndexError):
        column[len(texts)]


def test_what_is_long_is_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Read between, before and behind what is added; gone when nobody has it; elsewhere where the cache cannot be."""
    monkeypatch.setattr(columns, "HELD_BYTES", 10)
    for place in (tmp_path / "cache", tmp_path / "file"):
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setenv("GRAFT_CACHE_DIR", str(place))
        texts = Texts(["ab", "é"])
        assert list(texts) == ["ab", "é"]
        texts.extend(["longer than ten", ""])
        assert (texts[0], texts[2], texts[-1]) == ("ab", "longer than ten", "")
        texts.add(pa.array(["x", "and more", "y"], pa.large_string())[1:])
        texts.extend(["z"])
        assert list(texts) == ["ab", "é", "longer than ten", "", "and more", "y", "z"]
        assert texts.series().tolist() == list(texts)
    assert [file for file in (tmp_path / "cache").rglob("*") if file.is_file()] == []
    monkeypatch.setattr(columns.cache, "unnamed_file", lambda: None)
    assert list(Texts(["longer than ten", "x"])) == ["longer than ten", "x"], "in memory where there can be no file"


def test_a_full_disk_is_one_error() -> None:
    """And nothing is written once more as the process ends."""
    code = (
        "import resource, signal\n"
        "from graft.runtime import columns\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
        "texts = columns.Texts()\n"
        "try:\n"
        "    texts.extend(['x' * 2**10] * 2000)\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("File too large\n", "")


def test_prepare_writes_the_same_from_files(
    tmp_path: Path, prepare: Callable[..., PreparedData], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_drawings(tmp_path / "images", 8)
    (tmp_path / "images" / "circle" / "bad.png").write_bytes(b"no image")
    shutil.copy(tmp_path / "images" / "circle" / "000.png", tmp_path / "images" / "circle" / "copy.png")
    held = prepare(tmp_path / "images").folder
    monkeypatch.setattr(columns, "HELD_BYTES", 0)
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    mapped = prepare(tmp_path / "images").folder
    files = sorted(file.relative_to(held) for file in held.rglob("*") if file.is_file())
    assert len(files) >= 5
    assert {str(file) for file in files if (held / file).read_bytes() != (mapped / file).read_bytes()} == set()


def test_rows_give_back_the_rows() -> None:
    given = [Item(f"{i}.png", "b", "train", None, f"g{i % 3}", i / 2) for i in range(2 * AT_A_TIME + 1)]
    given[5] = Item("5.png", "", None, Problem(IGNORED, "hidden file"))
    assert list(listed(given)) == given
    assert listed(given)[5] == given[5]
    assert listed(given)[-3:] == given[-3:]


def test_tasks_are_the_examples_that_their_rows_are() -> None:
    n = 2 * AT_A_TIME + 5
    examples = pd.DataFrame({"path": [f"{i}.png" for i in range(n)], "sha256": [f"sha {i}" for i in range(n)]})
    tasks, expected = Tasks(examples), []
    for row in range(1, n, 2):
        views = (0,) if row % 3 else (1, 2)
        tasks.add(row, views)
        expected.append(Task(f"{row}.png", f"sha {row}", views))
    assert (list(tasks), len(tasks)) == (expected, len(expected))
    assert (tasks[3], tasks[-1], tasks[5:8]) == (expected[3], expected[-1], expected[5:8])
    assert tasks.n_views == sum(len(task.views) for task in expected)


def test_a_table_does_not_depend_on_the_order_of_verdicts() -> None:
    aside = Item("notes.md", "class0", problem=Problem(IGNORED, "not the name of an image file", ".md"))
    items = listed([aside, *items_of(300)])
    table, found = tabled(items)
    assert found.columns["number"].values[0] == 300
    assert list(table["path"]) == [item.path for item in items]
    assert table.iloc[0][["sha256", "bytes", "state", "detail"]].tolist() == ["", 0, "ignored", ".md"]
    assert table.iloc[1][["state", "reason", "detail"]].tolist() == [
        "quarantined", "cannot be read", "input/output error",
    ]  # fmt: skip
    row = table.iloc[42]
    assert row["sha256"] == hashlib.sha256(row["path"].encode()).hexdigest()
    assert row[["bytes", "width", "state", "weight"]].tolist() == [100 + 41, 40 + 41 % 9, "used", 1.0]
    looks = Looks.held(found.columns["look"], found.columns["number"].values)
    assert sorted(looks.rows.tolist()) == table.index[table["state"] == "used"].tolist()
    place = looks.rows.tolist().index(42)
    assert looks.values[place, :32].tobytes().hex() == row["sha256"]


def test_a_row_takes_few_bytes(tmp_path: Path) -> None:
    """As objects of Python's, the table of `prepare` would take 800 bytes an example, and that of other stages 400."""
    tracemalloc.start()
    items = items_of(N)
    assert tracemalloc.get_traced_memory()[0] < 100 * N, "350 as objects"
    tracemalloc.stop()
    table, _ = tabled(items)
    assert table.memory_usage(deep=True).sum() < (LENGTH + 120) * N

    catalogue.Catalogue(table).write(tmp_path / "catalogue.csv")
    used = catalogue.Catalogue(table).used
    sides, _ = make_split(used, np.arange(len(used)), data_params().split, 0)
    split.write(sides, tmp_path / "split.csv")
    data = dataset.read(tmp_path / "catalogue.csv", tmp_path / "split.csv")
    held = data.used.memory_usage(deep=True).sum() + data.targets.nbytes + data.sides.weights.nbytes
    assert held < (LENGTH + 80) * N

    before = catalogue.read(tmp_path / "catalogue.csv").used
    pd.testing.assert_frame_equal(data.used, before[list(data.used)])
    assert data.targets.tolist() == [data.classes.index(label) for label in before["label"]]
    by_side = {name: set(sides.index[sides["split"] == name]) for name in data.sides.rows}
    assert {name: set(rows.tolist()) for name, rows in data.sides.rows.items()} == by_side


@pytest.mark.parametrize("change", ["a label", "a row less", "a row more"])
def test_a_split_of_another_catalogue_is_refused(tmp_path: Path, change: str) -> None:
    table, _ = tabled(items_of(300))
    used = catalogue.Catalogue(table).used
    sides, _ = make_split(used, np.arange(len(used)), data_params().split, 0)
    if change == "a label":
        sides.loc[290, "label"] = "class9"
    sides = {"a row less": sides.iloc[:-1], "a row more": pd.concat([sides, sides.iloc[-1:]])}.get(change, sides)
    split.write(sides, tmp_path / "split.csv")
    catalogue.Catalogue(table).write(tmp_path / "catalogue.csv")
    with pytest.raises(StaleError, match="belongs to another catalogue"):
        dataset.read(tmp_path / "catalogue.csv", tmp_path / "split.csv")
