"""Experiments from DVC's queue: temporary workspaces, two workers at once, one MLflow store that is not there yet."""

from __future__ import annotations

import time
from pathlib import Path

from conftest import make_project, tiny_params


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
