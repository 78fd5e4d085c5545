"""The data report: everything is on the page, hostile names do no harm, and it needs nothing else."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import PreparedData, drawing, encoded, params_of, paths_in, write_drawings
from graft.errors import DataError
from graft.examples import report
from graft.tracking import mirror

Prepare = Callable[..., PreparedData]
HOSTILE = '<img src=x onerror=alert(1)> & "quoted"'


def page_of(root: Path, prepared: PreparedData) -> str:
    return report.page("folder", root, paths_in(prepared.folder))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two drawings a class, a class with a hostile name, defects, and copies."""
    root = tmp_path / "images"
    write_drawings(root, 6)
    (root / HOSTILE).mkdir()
    for i in range(3):
        (root / HOSTILE / f"{i}.png").write_bytes(encoded(drawing("cross", 900 + i)))
    (root / "circle" / "empty.png").write_bytes(b"")
    (root / "circle" / "tiny.png").write_bytes(encoded(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)))
    shutil.copy(root / "circle" / "000.png", root / "circle" / "copy.png")
    shutil.copy(root / "cross" / "001.png", root / "stripes" / "wrong.png")
    return root


def test_everything_is_on_the_page(root: Path, prepare: Prepare) -> None:
    prepared = prepare(root)
    page = page_of(root, prepared)
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for words in (
        "25 files found",
        "circle/empty.png empty file 0 bytes quarantined",
        "circle/tiny.png too small 4 x 4, smaller than data.min_side 8 quarantined",
        "conflicting labels (2), empty file (1), too small (1)",
        "within a split (identical)",
        HOSTILE,
    ):
        assert words in re.sub(r"\s+", " ", text), words
    counts = prepared.split.groupby("label")["split"].value_counts().unstack(fill_value=0)
    row = re.search(r"<td>circle</td>\s*<td class=\"n\">(\d+)</td>", page)
    assert row
    assert int(row[1]) == counts.loc["circle", "train"]


def test_names_are_text_and_nothing_is_fetched(root: Path, prepare: Prepare) -> None:
    page = page_of(root, prepare(root))
    assert HOSTILE not in page
    assert "&lt;img src=x" in page
    assert re.findall(r'(?:src|href)="(?!data:image/jpeg;base64,)[^"]*"', page) == []
    assert "<script" not in page
    assert "http" not in page


def test_the_same_page_twice(root: Path, prepare: Prepare) -> None:
    prepared = prepare(root)
    assert page_of(root, prepared) == page_of(root, prepared)


def test_images_that_are_not_here_leave_their_place_empty(root: Path, prepare: Prepare) -> None:
    """A colleague with the files of `prepare` but without the images still reads the page."""
    prepared = prepare(root)
    shutil.rmtree(root)
    page = page_of(root, prepared)
    assert "base64" not in page
    assert page.count("no picture") >= 20


def test_a_run_makes_the_page_once_until_prepare_writes_anew(
    root: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, params = paths_in(prepare(root).folder), params_of({"data.source": "folder", "data.path": str(root)})
    making, made = report.page, []

    def counted(*arguments: Any) -> str:
        made.append(arguments)
        return making(*arguments)

    monkeypatch.setattr(report, "page", counted)
    mirror._data_page.cache_clear()
    assert mirror.data_page(params, paths) == mirror.data_page(params, paths) == making("folder", root, paths)
    assert len(made) == 1
    paths.quarantine.write_text(paths.quarantine.read_text().replace("empty file", "no content"))
    assert "no content" in mirror.data_page(params, paths)


def test_before_prepare(tmp_path: Path) -> None:
    missing = paths_in(tmp_path)
    with pytest.raises(DataError, match=r"must exist to be reported\. Run `dvc repro prepare` or `dvc pull`\."):
        report.page("folder", tmp_path, missing)
