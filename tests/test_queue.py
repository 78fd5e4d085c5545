"""Experiments from DVC's queue: temporary workspaces with sources of their own, two workers, one new MLflow store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import REPOSITORY, make_project, tiny_params


def test_queued_experiments_run_beside_each_other(tmp_path: Path) -> None:
    """Their runs land in the project's own store, and what runs is the code that was queued."""
    tree = tiny_params()
    tree["finetune"] |= {"enabled": False}
    project = make_project(tmp_path, tree)
    project.run("dvc", "exp", "run", "--queue", "-S", "train.learning_rate=0.004,0.005")
    (project.folder / "src" / "graft" / "stages" / "train.py").write_text("raise SystemExit('edited after queueing')\n")
    project.run("dvc", "queue", "start", "--jobs", "2")
    for _ in range(240):
        status = project.run("dvc", "queue", "status").stdout
        if "Running" not in status and "Queued" not in status:
            break
        time.sleep(1)
    assert status.count("Success") == 2, status
    runs = project.runs()
    assert {run.data.params["train.learning_rate"] for run in runs} == {"0.004", "0.005"}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["graft.complete"] for run in runs} == {"true"}


@pytest.mark.parametrize("entry", ["__main__.py", "cli.py"])
def test_a_checkout_runs_its_own_sources(tmp_path: Path, entry: str) -> None:
    """Whatever is installed; also where they are of a version that entered at `graft.cli`."""
    package = tmp_path / "src" / "graft"
    package.mkdir(parents=True)
    for file in ("__init__.py", "cli.py", entry):
        (package / file).write_text(f"import sys; print({file!r}, sys.argv[1:])")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    command = [sys.executable, "-m", "graft", "params", "check"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert f"{entry} ['params', 'check']" in done.stdout.splitlines()
