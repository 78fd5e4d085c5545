"""What is cached is keyed by the code that computed it: a changed line computes again, a changed comment does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from conftest import REPOSITORY, tiny_params, write_drawings
from graft.backbones.table import BACKBONES
from graft.pipeline import code

pytestmark = pytest.mark.long

KEYED = ("graft.features.compute", "graft.features.engines.openvino", "graft.inputs.image.spec")


class Checkout:
    """graft's sources and a few images in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(REPOSITORY / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / "dvc.yaml", folder)
        write_drawings(folder / "data" / "drawings", 4)
        tree = tiny_params()
        tree["extract"] |= {"views": 1}
        (folder / "params.yaml").write_text(yaml.safe_dump(tree))
        self.environment = os.environ | {"PYTHONPATH": str(folder / "src"), "GRAFT_CACHE_DIR": str(folder / "cache")}

    def run(self, stage: str) -> str:
        """What a stage says."""
        command = [sys.executable, "-m", "graft", stage]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    def edit(self, module: str, before: str, after: str) -> None:
        file = self.folder / "src" / "graft" / module
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after, 1))

    @property
    def features(self) -> np.ndarray:
        return np.asarray(np.load(self.folder / "data" / "features" / "array.npy"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    found = Checkout(tmp_path_factory.mktemp("checkout"))
    found.run("prepare")
    assert "features of 12 images and 1 views of each: 0 of 24 are in the cache" in found.run("extract")
    return found


INVERTED = "    return np.asarray(image)\n\n\ndef _scaled", "    return 255 - np.asarray(image)\n\n\ndef _scaled"


def test_inverted_pixels_are_other_features(checkout: Checkout) -> None:
    before = checkout.features
    checkout.edit("inputs/image/decode.py", *INVERTED)
    assert "features of 12 images and 1 views of each: 0 of 24" in checkout.run("extract")
    assert not np.allclose(checkout.features, before)
    checkout.edit("inputs/image/decode.py", *reversed(INVERTED))


def test_words_and_a_new_row_leave_every_key(checkout: Checkout) -> None:
    """Of the tables of backbones, engines and sources: what is not used is not part of a key, nor what is not run."""
    checkout.edit(
        "inputs/image/decode.py",
        "    return _square(open_rgb(data) if",
        "    # a word\n    return _square(open_rgb(data) if",
    )
    checkout.edit("inputs/image/decode.py", '"""(side, side, 3) uint8 RGB.', '"""Pixels, (side, side, 3) uint8 RGB.')
    checkout.edit(
        "features/engines/__init__.py",
        "ENGINES: dict[str, Engine] = {\n",
        'ENGINES: dict[str, Engine] = {\n    "new": tensorflow.forward,\n',
    )
    checkout.edit(
        "examples/sources/__init__.py",
        "SOURCES: dict[str, Source] = {\n",
        'SOURCES: dict[str, Source] = {\n    "new": folder.SOURCE,\n',
    )
    row = next(
        line for line in (REPOSITORY / "src/graft/backbones/table.py").read_text().splitlines() if '"VGG16"' in line
    )
    checkout.edit("backbones/table.py", row, f"{row}\n{row.replace('VGG16', 'VGG99')}")
    assert "24 of 24 are in the cache" in checkout.run("extract"), "the code of before has its values of before"
    assert "VGG99" not in BACKBONES


@pytest.mark.slow
def test_a_changed_row_is_another_key(checkout: Checkout) -> None:
    line = next(
        line
        for line in (REPOSITORY / "src/graft/backbones/table.py").read_text().splitlines()
        if '"MobileNetV2"' in line
    )
    checkout.edit("backbones/table.py", line, line.replace('"tf"', '"torch"'))
    assert "0 of 24 are in the cache" in checkout.run("extract")


def test_verdicts_on_images_know_their_code(checkout: Checkout) -> None:
    checkout.run("prepare")  # a file's time tells that it is unchanged once it is two seconds old
    assert "examining" not in checkout.run("prepare")
    checkout.edit("examining/image/examine.py", "FLAT = 2.0", "FLAT = 2.5")
    assert "examining: 12 images" in checkout.run("prepare")


def test_the_closure_of_a_key_has_what_computes_and_no_table() -> None:
    found = code.closure(KEYED, code.CHANGE_NO_OUTPUT | code.TABLES)
    assert {
        "graft.features.compute", "graft.features.engines.openvino", "graft.inputs.image.decode",
        "graft.inputs.image.augment", "graft.backbones.build", "graft.runtime.computing.numerics",
    } <= found  # fmt: skip
    assert not found & (code.TABLES | code.CHANGE_NO_OUTPUT)
    assert not [
        name for name in found if name.startswith(("graft.tracking", "graft.stages", "graft.cli", "graft.config"))
    ]


def test_modules_that_are_left_out_exist() -> None:
    for name in code.CHANGE_NO_OUTPUT | code.TABLES:
        assert code.file(name) is not None, name


def test_the_key_has_libraries_device_and_instruction_set(checkout: Checkout) -> None:
    for what in (checkout.folder / "cache" / "features").glob("*/what.json"):
        key = json.loads(what.read_text())
        assert set(key["libraries"]) >= {"keras", "tensorflow", "numpy", "openvino", "pillow", "simplejpeg"}
        assert key["device"] == "CPU"
        assert key["instruction_set"] == "AVX2" or "avx2" not in Path("/proc/cpuinfo").read_text()
        assert len(key["code"]) == 64
