"""The Dockerfile's steps, without Docker: what it copies is all that it needs, and what it starts answers."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests

from conftest import CLASSES, REPOSITORY, drawing, encoded
from graft.models import card

LINES = [line.split(None, 1) for line in (REPOSITORY / "Dockerfile").read_text().splitlines() if line[:1].isupper()]


def steps(instruction: str) -> list[str]:
    return [rest for name, rest in LINES if name == instruction]


def test_what_is_copied_is_there_and_not_left_out() -> None:
    left_out = (REPOSITORY / ".dockerignore").read_text().split()
    for step in steps("COPY"):
        *sources, _ = step.split()
        for source in sources:
            assert (REPOSITORY / source).exists(), source
            assert source.split("/")[0] not in left_out
            assert not source.startswith("data/") or f"!{source}" in left_out


def test_the_environment_is_that_of_make_install() -> None:
    first, second = (shlex.split(step) for step in steps("RUN"))
    assert first == ["pip", "install", "--no-cache-dir", "--require-hashes", "-r", "requirements.lock"]
    assert {"--no-deps", "--no-build-isolation", "."} < set(second)
    makefile = (REPOSITORY / "Makefile").read_text()
    assert "--require-hashes -r requirements.lock" in makefile


@pytest.mark.slow
def test_what_it_starts_answers(tmp_path: Path) -> None:
    """The copied files alone are installed beside this environment's libraries, and serve a model."""
    from graft.backbones import build
    from graft.models import assemble, heads

    image, models = tmp_path / "image", tmp_path / "models"
    image.mkdir()
    for step in steps("COPY"):
        *sources, target = step.split()
        for source in sources:
            into = image / target if target != "./" else image / Path(source).name
            into.parent.mkdir(parents=True, exist_ok=True)
            origin = REPOSITORY / source
            shutil.copytree(origin, into) if origin.is_dir() else shutil.copy(origin, into)
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")) + "\n")
    install = shlex.split(steps("RUN")[1])[2:]
    python = str(environment / "bin" / "python")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", *install], cwd=image, check=True
    )

    models.mkdir()
    loaded = build.build("MobileNetV2", 0.35, 32, "bundled", 0)
    network = assemble.classifier(
        loaded, "avg", heads.build("linear", {"pooling": "avg", "dropout": 0.0}, (1280,), 3, 3)
    )
    network.save(models / "model.keras")
    made_with = {
        "input": {"kind": "image", "side": 32, "resize": "stretch", "interpolation": "bilinear"},
        "preprocessing": loaded.row.preprocessing, "alpha": 0.35, "weights_sha256": "0", "backbone": "MobileNetV2",
    }  # fmt: skip
    card.write(card.make(CLASSES, made_with, None, "0" * 64, {}, None), models / "card.json")

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (entry,) = (shlex.split(step.strip("[]").replace(",", " ")) for step in steps("ENTRYPOINT"))
    assert entry[0] == "graft"
    command = [str(environment / "bin" / "graft"), *entry[1:-1], str(models), "--port", str(port)]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(command, cwd=tmp_path, env=clean) as served:
        try:
            deadline = time.monotonic() + 300
            while True:
                try:
                    body = encoded(drawing("circle", 1))
                    answer = requests.post(f"http://127.0.0.1:{port}/predict", body, timeout=20)
                    break
                except requests.ConnectionError:
                    assert served.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.3)
            (said,) = answer.json()["predictions"]
            assert sorted(said["top_labels"]) == sorted(CLASSES)
            np.testing.assert_allclose(sum(said["top_probabilities"]), 1, atol=1e-4)
        finally:
            served.terminate()
