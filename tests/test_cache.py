"""One forward pass per image, ever: what is computed, what comes from the cache, and that it is the same."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import REPOSITORY, PreparedData, data_params, drawing, encoded, write_drawings
from graft.backbones import build
from graft.features import cache, engines
from graft.params import BackboneParams, ExtractParams
from graft.stages import extract

Prepare = Callable[..., PreparedData]
BACKBONE = {
    "name": "MobileNetV2", "alpha": 0.35, "input_size": 32, "resize": "stretch", "interpolation": "bilinear",
    "weights": "bundled", "weights_sha256": None, "random_seed": 0,
}  # fmt: skip
EXTRACT = {"engine": "auto", "precision": "float32", "batch_size": 8, "pooling": "avg", "dtype": "float32"}


BUILT = functools.cache(build.build)
"""Building a network takes longer than running these images through it."""


class Extraction:
    """Runs `prepare` and `extract` on a folder of images, and counts the images that go through the network."""

    def __init__(self, root: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self._prepare = root, prepare
        self.forwarded = 0
        monkeypatch.setattr(extract.build, "build", BUILT)
        for name, engine in list(engines.ENGINES.items()):
            monkeypatch.setitem(engines.ENGINES, name, self._counting(engine))

    def _counting(self, engine: engines.Engine) -> engines.Engine:
        def counted(*args: Any) -> engines.Forward:
            forward = engine(*args)

            def count(pixels: np.ndarray) -> np.ndarray:
                self.forwarded += len(pixels)
                return forward(pixels)

            return count

        return counted

    def run(
        self,
        changes: dict[str, Any] | None = None,
        backbone: dict[str, Any] | None = None,
        extracting: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> tuple[int, bytes, bytes]:
        """(images that went through the network, bytes of the array, bytes of meta.json)"""
        prepared = self._prepare(self.root, changes, seed=seed)
        before = self.forwarded
        data = data_params({"source": "folder", "path": str(self.root), **(changes or {})})
        extract.run(
            data,
            BackboneParams.model_validate(BACKBONE | (backbone or {})),
            ExtractParams.model_validate(EXTRACT | (extracting or {})),
            prepared.folder / "catalogue.csv",
            prepared.folder / "features",
        )
        array, meta = (prepared.folder / "features" / name for name in ("features.npy", "meta.json"))
        return self.forwarded - before, array.read_bytes(), meta.read_bytes()


@pytest.fixture
def extraction(tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> Extraction:
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    write_drawings(tmp_path / "images", 7)
    return Extraction(tmp_path / "images", prepare, monkeypatch)


def test_each_change_costs_what_it_changes(extraction: Extraction) -> None:
    """Nothing for a split, a label map, a rename; N for N new images; everything for another network."""
    first = extraction.run()
    assert first[0] == 21
    assert extraction.run() == (0, *first[1:])
    assert extraction.run(seed=5)[0] == 0
    assert extraction.run({"split.method": "folds"})[0] == 0
    assert extraction.run({"classes": {"circle": "circle", "other": "*"}})[0] == 0
    (extraction.root / "cross").rename(extraction.root / "x")
    assert extraction.run()[0] == 0
    for i in range(4):
        (extraction.root / "x" / f"new{i}.png").write_bytes(encoded(drawing("cross", 500 + i)))
    assert extraction.run()[0] == 4
    (extraction.root / "x" / "copy.png").write_bytes((extraction.root / "x" / "new0.png").read_bytes())
    assert extraction.run()[0] == 0
    assert extraction.run(backbone={"weights": "random"})[0] == 25, "a copy goes through once"
    assert extraction.run(extracting={"pooling": "max"})[0] == 25
    assert extraction.run(backbone={"interpolation": "bicubic"})[0] == 25
    assert extraction.run(extracting={"dtype": "float16"})[0] == 25
    assert extraction.run()[0] == 0


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_the_same_bytes_whatever_was_cached(extraction: Extraction, engine: str) -> None:
    """Everything, nothing, or a part; in batches of another size."""
    whole = extraction.run(extracting={"engine": engine})
    os.environ["GRAFT_CACHE_DIR"] += "-part"
    for path in sorted(extraction.root.rglob("*.png"))[::3]:
        path.rename(path.with_suffix(".away"))
    part = extraction.run(extracting={"engine": engine, "batch_size": 3})
    assert part[0] == 14
    for path in sorted(extraction.root.rglob("*.away")):
        path.rename(path.with_suffix(".png"))
    rest = extraction.run(extracting={"engine": engine, "batch_size": 5})
    assert rest == (7, *whole[1:])


def test_a_damaged_value_is_computed_again(extraction: Extraction) -> None:
    first = extraction.run()
    (held,) = cache.held()
    database = cache.Database.opened(f"{cache.KIND}/{held.folder.name}")
    keys = [key for key, _ in database.items()]
    assert len(keys) == 21
    database.put([(keys[0], b"short"), (keys[1], bytes(4 + 1280 * 4 - 1) + b"x")])
    assert extraction.run() == (2, *first[1:])
    database.put([(keys[2], b"short")])
    assert cache.verify() == (21, 1)
    assert cache.verify() == (20, 0)
    assert extraction.run() == (1, *first[1:])


def test_a_stopped_extraction_goes_on_where_it_was(extraction: Extraction, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = engines.ENGINES["openvino"]

    def stopping(*args: Any) -> engines.Forward:
        forward = counted(*args)

        def stop(pixels: np.ndarray) -> np.ndarray:
            if extraction.forwarded >= 16:
                raise KeyboardInterrupt
            return forward(pixels)

        return stop

    monkeypatch.setitem(engines.ENGINES, "openvino", stopping)
    with pytest.raises(KeyboardInterrupt):
        extraction.run()
    monkeypatch.setitem(engines.ENGINES, "openvino", counted)
    assert extraction.run()[0] == 5


def test_an_engine_that_cannot_is_replaced_and_said(
    extraction: Extraction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setitem(engines.ENGINES, "openvino", refuse)
    n, _, meta = extraction.run()
    assert (n, json.loads(meta)["engine"]) == (21, "tensorflow")
    assert "note: OpenVINO cannot run this network (no such operation); using the tensorflow" in capsys.readouterr().err


def test_the_cache_stays_within_its_limit(
    extraction: Extraction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was not used for longest goes first; what was just made stays."""
    extraction.run()
    (first,) = cache.held()
    os.utime(first.folder / cache.WHAT, (1, 1))
    extraction.run(extracting={"pooling": "max"})
    assert len(cache.held()) == 2
    monkeypatch.setenv("GRAFT_CACHE_GB", "0.0000001")
    assert extraction.run(extracting={"pooling": "max"})[0] == 0
    assert "features of MobileNetV2 left the cache" in capsys.readouterr().err
    (left,) = cache.held()
    assert left.what["pooling"] == "max"
    assert [one.folder for one in cache.prune(0)] == [left.folder]
    assert cache.held() == []


def test_the_commands(extraction: Extraction) -> None:
    extraction.run()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}

    def graft(*arguments: str) -> str:
        command = [sys.executable, "-m", "graft.cli", "cache", *arguments]
        return subprocess.run(
            command, env=environment, cwd=extraction.root, capture_output=True, text=True, check=True
        ).stdout

    info = graft("info")
    assert "MobileNetV2 0.35" in info
    assert "openvino float32" in info
    assert "GB of features in" in info
    assert graft("verify") == "21 features read, 0 damaged and dropped\n"
    assert graft("prune", "--max-gb", "0").startswith("removed ")
    assert "0.00 GB of features" in graft("info")
