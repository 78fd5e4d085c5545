"""What happens to a project when its processes do not live: `make stress` runs it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import Project, make_project, tiny_params

pytestmark = pytest.mark.stress

KILLS = int(os.environ.get("KILLS", "8"))


def killed(project: Project, after_seconds: float) -> None:
    """`dvc repro` and everything it started, gone without a word."""
    process = subprocess.Popen(
        ["dvc", "repro"], cwd=project.folder, env=project.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(after_seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_kills_at_random_moments_cost_time_only(tmp_path: Path) -> None:
    """Afterwards the pass ends, with the bytes of one that nobody disturbed, and one run that is whole."""
    undisturbed = make_project(tmp_path / "undisturbed", tiny_params())
    began = time.monotonic()
    undisturbed.run("dvc", "repro", GRAFT_CACHE_DIR=str(tmp_path / "one"))
    seconds = time.monotonic() - began
    project = make_project(tmp_path / "disturbed", tiny_params())
    project.environment["GRAFT_CACHE_DIR"] = str(tmp_path / "other")
    chance = random.Random(0)
    for _ in range(KILLS):
        killed(project, chance.uniform(0.5, seconds))
        (project.folder / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)  # DVC's own, which names dead processes
    done = project.run("dvc", "repro")
    assert "Traceback" not in done.stderr
    assert (project.folder / "dvc.lock").read_bytes() == (undisturbed.folder / "dvc.lock").read_bytes()
    runs = project.runs()
    assert [run.data.tags.get("graft.complete") for run in runs].count("true") == 1
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.parametrize("seconds", [0.9, 1.3, 1.7, 2.1, 2.5])
def test_a_store_in_the_making_is_killed(tmp_path: Path, seconds: float) -> None:
    connect = [sys.executable, "-c", "from graft.tracking import server; print(server.connect('x')[1])"]
    process = subprocess.Popen(connect, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    process.wait()
    done = subprocess.run(connect, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_a_server_that_dies_in_training_costs_seconds(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", tiny_params())
    tree = tiny_params()
    tree["train"]["epochs"] = 400
    project.write_params(tree)
    store = f"sqlite:///{tmp_path}/server.db"
    command = ["mlflow", "server", "--port", "5099", "--backend-store-uri", store,
               "--artifacts-destination", str(tmp_path / "artifacts")]  # fmt: skip
    with subprocess.Popen(
        command, env=project.environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        project.run("dvc", "repro", "extract")
        time.sleep(8)
        training = subprocess.Popen(
            ["dvc", "repro", "train"], cwd=project.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            env=project.environment | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5099"},
        )  # fmt: skip
        assert training.stderr is not None
        said = ""
        with training.stderr as lines:
            for line in lines:
                said += line
                if line.startswith("epoch 20/"):
                    os.killpg(server.pid, signal.SIGKILL)
                    began = time.monotonic()
        training.wait()
    assert training.returncode == 0, said
    assert said.count("note: MLflow failed in epoch") == 1, said
    assert time.monotonic() - began < 60
    assert (project.folder / "models" / "head.keras").exists()
    assert "MLflow run" in project.run("dvc", "repro").stdout
