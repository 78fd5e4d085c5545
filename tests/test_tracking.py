"""The store and the run, without the pipeline: first use, faults, resuming, a store that dies meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest

from conftest import REPOSITORY
from graft.config.load import load
from graft.errors import TrackingError
from graft.tracking import git, mirror, run, server

CONNECT = "from graft.tracking import server; print(server.connect('shared')[1])"
DEFAULT = load(REPOSITORY / "params.yaml")


def test_three_at_once_make_one_store(tmp_path: Path) -> None:
    """MLflow itself fails here: each process would create the tables."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CONNECT], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert len({out for out, _ in said}) == 1


@pytest.mark.parametrize(
    "uri",
    ["foo://bar", "postgresql://nobody@127.0.0.1:1/x", "sqlite:////proc/none/x.db", "http://localhost:abc", "./mlruns"],
)
def test_what_is_no_store_is_one_error(uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrackingError, match=r"^MLFLOW_TRACKING_URI: "):
        server.connect("x")


def test_a_relative_sqlite_path_is_meant_from_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///own.db")
    assert server.uri() == f"sqlite:///{tmp_path}/own.db"


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mirror.Inputs:
    """Files that enter training, in a folder that is the project's root."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "dvc.yaml").write_text((REPOSITORY / "dvc.yaml").read_text())
    (tmp_path / "features").mkdir()
    for name in ("catalogue", "split", "features/meta.json"):
        (tmp_path / name).write_text(name)
    return mirror.Inputs(tmp_path / "catalogue", tmp_path / "split", tmp_path / "features")


def client(folder: Path) -> Any:
    return mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")


def test_a_crashed_stage_is_resumed_by_the_same_code(inputs: mirror.Inputs, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), run.live("train", DEFAULT, inputs) as on_epoch:  # noqa: PT012
        on_epoch(1, {"loss": 2.0})
        raise RuntimeError("killed")
    (crashed,) = client(tmp_path).search_runs(["1"])
    assert crashed.info.status == "FAILED"
    with run.live("train", DEFAULT, inputs) as on_epoch:
        on_epoch(1, {"loss": 2.0})
        on_epoch(2, {"loss": 1.0})
    (resumed,) = client(tmp_path).search_runs(["1"])
    assert resumed.info.run_id == crashed.info.run_id
    assert resumed.info.status == "FINISHED"
    history = client(tmp_path).get_metric_history(resumed.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 2.0), (2, 1.0)]


def test_other_code_makes_another_run(inputs: mirror.Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for commit in ("a" * 40, "b" * 40):
        state = git.CodeState(commit, False, "")
        monkeypatch.setattr(git, "state", lambda folder, written, state=state: state)
        with run.live("train", DEFAULT, inputs) as on_epoch:
            on_epoch(1, {"loss": 2.0})
    assert len(client(tmp_path).search_runs(["1"])) == 2


def test_a_store_that_dies_does_not_stop_the_training(
    inputs: mirror.Inputs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(*args: object, **kwargs: object) -> None:
        raise OSError("connection reset")

    finished = []
    with run.live("train", DEFAULT, inputs) as on_epoch:
        monkeypatch.setattr(mlflow.MlflowClient, "log_batch", gone)
        for epoch in (1, 2, 3):
            on_epoch(epoch, {"loss": 1.0})
            finished.append(epoch)
    assert finished == [1, 2, 3]
    assert capsys.readouterr().err.count("note: MLflow failed in epoch 1 (connection reset); training goes on") == 1


def test_the_pass_is_named_by_what_computes_something(inputs: mirror.Inputs) -> None:
    def with_changes(**sections: dict[str, Any]) -> str:
        changed = {name: getattr(DEFAULT, name).model_copy(update=values) for name, values in sections.items()}
        return run.pass_id(DEFAULT.model_copy(update=changed), inputs)

    same = run.pass_id(DEFAULT, inputs)
    assert with_changes(tracking={"experiment": "other"}, data={"path": "/elsewhere"}) == same
    assert with_changes(train={"learning_rate": 0.5}) != same
    inputs.split.write_text("another split")
    assert run.pass_id(DEFAULT, inputs) != same
