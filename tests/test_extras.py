"""What an extra brings is not needed without it: images need nothing of `graft-transfer[text]`."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from conftest import REPOSITORY

pytestmark = pytest.mark.long

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
OF_TEXTS = ("datasketch", "keras_hub", "safetensors", "tensorflow_text", "tokenizers")
"""Modules that an installation without the extra does not have."""

RUN = """\
import sys
sys.path[:0] = {paths!r}
for name in {names!r}:
    sys.modules[name] = None  # as if it were not installed
from pathlib import Path
from conftest import few_layers, whole_pass
folder = Path({folder!r})
made = whole_pass(folder, few_layers(folder) | {{"train.epochs": 1, "finetune.epochs": 1, "extract.views": 0}}, 6)
assert made.paths.metrics.is_file()
loaded = [name for name in {names!r} if sys.modules.get(name) is not None]
assert not loaded, loaded
"""


def requirements(listed: list[str]) -> dict[str, str]:
    """Name -> what is asked of its version; another extra of graft stands for what it lists."""
    found: dict[str, str] = {}
    for one in listed:
        if extra := re.fullmatch(r"graft-transfer\[(\w+)\]", one):
            found |= requirements(PROJECT["optional-dependencies"][extra[1]])
        elif part := re.fullmatch(r"([\w-]+)(.*)", one):
            found[part[1]] = part[2]
    return found


def test_images_need_nothing_that_is_for_texts(tmp_path: Path) -> None:
    """All five stages in a process in which these modules cannot be imported."""
    script = RUN.format(
        paths=[str(REPOSITORY / "tests"), str(REPOSITORY / "src")], names=OF_TEXTS, folder=str(tmp_path)
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_extra_has_what_texts_need_and_only_that() -> None:
    """keras is in both: keras-hub needs a newer one than images do."""
    always, text = requirements(PROJECT["dependencies"]), requirements(PROJECT["optional-dependencies"]["text"])
    named = {name.replace("-", "_") for name in text} - {"keras"}
    assert named | {"tensorflow_text"} == set(OF_TEXTS), "tensorflow-text is keras-hub's own"
    assert (always["keras"], text["keras"]) == (">=3.12,<4", ">=3.15,<4")
    assert not (set(text) - {"keras"}) & set(always)


WITHOUT_TEXTS = """\
import sys
sys.path[:0] = {paths!r}
for name in ("datasketch",):
    sys.modules[name] = None
from pathlib import Path
import numpy as np
import vision_network
from conftest import params_of
from graft.backbones import build, networks
folder = vision_network.write_hugging_face(Path({folder!r}) / "net", "ViT")
given = {{"backbone.name": "ViT", "backbone.weights": str(folder), "backbone.input_size": vision_network.SIDE}}
loaded = networks.built(params_of(given).backbone, "cls")
assert build.feature_model(loaded, "cls").output_shape == (None, vision_network.WIDTH)
"""


def test_networks_of_kerashubs_for_images_need_the_smaller_extra_alone(tmp_path: Path) -> None:
    script = WITHOUT_TEXTS.format(paths=[str(REPOSITORY / "tests"), str(REPOSITORY / "src")], folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    hub, text = (set(requirements(PROJECT["optional-dependencies"][name])) for name in ("hub", "text"))
    assert hub == {"keras", "keras-hub", "safetensors"}
    assert text - hub == {"datasketch", "tokenizers"}


def test_the_lock_has_every_extra_and_no_address() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    locked = set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
    extras = {name for listed in PROJECT["optional-dependencies"].values() for name in requirements(listed)}
    assert extras <= locked
    assert "://" not in lock
    entries = re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
