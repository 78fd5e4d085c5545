"""Two on one pass at the same time, in a real store: each has a run of its own, and one stays."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest

import logged_passes
from graft.tracking import foreseen, holding, live, run
from graft.tracking.identity import COMPLETE, PASS
from logged_passes import Logged


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    with logged_passes.entered(folder := tmp_path_factory.mktemp("holding")):
        yield logged_passes.made(folder)


def client(logged: Logged) -> Any:
    return mlflow.MlflowClient(f"sqlite:///{logged.folder}/mlflow.db")


def runs(logged: Logged) -> list[str]:
    """The ids of all that are not deleted."""
    return [one.info.run_id for one in client(logged).search_runs(["1"])]


@pytest.fixture
def another() -> Iterator[str]:
    """A living process, as a run names who works on it."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield f"{socket.gethostname()} {process.pid} {psutil.Process(process.pid).create_time()}"
        process.kill()


ENDED = f"{socket.gethostname()} {2**22 + 1} 1.0"
"""No process has such a number."""


def test_a_run_that_somebody_works_on_is_not_taken(another: str) -> None:
    """Nor one of another machine, before a day has gone; one whose process has ended is, or of an earlier graft."""
    now = time.time()
    assert holding.is_free({})
    assert holding.is_free(holding.tags())
    assert holding.is_free({holding.HOLDER: ENDED, holding.HELD: str(now)})
    assert not holding.is_free({holding.HOLDER: another, holding.HELD: str(now)})
    host, pid, started = another.rsplit(" ", 2)
    assert holding.is_free({holding.HOLDER: f"{host} {pid} {float(started) - 100}", holding.HELD: str(now)})
    elsewhere = f"not-{host} {pid} {started}"
    assert not holding.is_free({holding.HOLDER: elsewhere, holding.HELD: str(now)})
    assert holding.is_free({holding.HOLDER: elsewhere, holding.HELD: str(now - 2 * 86_400)})


def test_two_that_train_the_same_have_a_run_each(logged: Logged, another: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none of them is resumed by the other; once one has ended, its run goes on."""
    monkeypatch.setattr(live, "SOON_SECONDS", 0)  # the run is opened at once
    params, paths = logged.made.params, logged.made.paths
    params = params.model_copy(update={"seed": 5})  # a pass that nobody has logged
    with live.live("train", params, paths):
        pass
    (first,) = set(runs(logged)) - {logged.ids["real"]}
    client(logged).set_tag(first, holding.HOLDER, another)
    assert foreseen.of(params, paths, True, True).kind == foreseen.NEW
    with live.live("train", params, paths) as on_epoch:
        on_epoch(1, {"loss": 1.0})
    (second,) = set(runs(logged)) - {logged.ids["real"], first}
    assert "while_training_loss" not in client(logged).get_run(first).data.metrics
    client(logged).delete_run(second)
    client(logged).set_tag(first, holding.HOLDER, ENDED)
    assert foreseen.of(params, paths, True, True).kind == foreseen.RESUMED
    with live.live("train", params, paths) as on_epoch:
        on_epoch(1, {"loss": 1.0})
    assert set(runs(logged)) == {logged.ids["real"], first}
    client(logged).delete_run(first)


def test_of_two_that_end_at_the_same_time_the_first_stays(
    logged: Logged, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As neither has seen the other before it had logged everything; what is deleted takes its model along."""
    monkeypatch.setattr(run, "find", lambda *args: None)
    found = run.complete(logged.made.params, logged.made.paths, None)
    assert (found.run_id, runs(logged)) == (logged.ids["real"], [logged.ids["real"]])
    assert "this pass was logged twice at the same time; MLflow run" in capsys.readouterr().err
    models = client(logged).search_logged_models(["1"])
    assert [model.source_run_id for model in models] == [logged.ids["real"]]


def test_a_dataset_that_another_logs_at_the_same_moment_is_logged(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow looks for it and adds it in two steps: here another adds it in between."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    real, asked = MlflowClient.log_inputs, []

    def log_inputs(self: MlflowClient, run_id: str, datasets: list[Any]) -> None:
        asked.append(run_id)
        if len(asked) == 1:
            raise MlflowException("UNIQUE constraint failed: datasets.experiment_id, datasets.name, datasets.digest")
        real(self, run_id, datasets)

    monkeypatch.setattr(MlflowClient, "log_inputs", log_inputs)
    monkeypatch.setattr(run, "find", lambda *args: None)
    assert run.complete(logged.made.params, logged.made.paths, None).run_id == logged.ids["real"]
    assert len(asked) == 2
    assert len(client(logged).get_run(asked[1]).inputs.dataset_inputs) == 1


def test_what_was_begun_of_a_pass_that_another_ends_first_goes(logged: Logged) -> None:
    params, paths = logged.made.params, logged.made.paths
    this = run.pass_id(params, paths)
    begun = client(logged).create_run("1", tags={PASS: this, **holding.tags()}).info.run_id
    others = client(logged).create_run("1", tags={PASS: this, holding.HOLDER: ENDED}).info.run_id
    assert run.complete(params, paths, None).run_id == logged.ids["real"]
    assert set(runs(logged)) == {logged.ids["real"], others}
    assert client(logged).get_run(begun).info.lifecycle_stage == "deleted"
    assert client(logged).get_run(logged.ids["real"]).data.tags[COMPLETE] == "true"


def test_files_that_change_while_they_are_logged_make_no_whole_run(
    logged: Logged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As when `dvc checkout` brings another pass meanwhile."""
    from graft.errors import TrackingError
    from graft.tracking import mirror

    params, paths = logged.made.params, logged.made.paths
    kept = paths.confusion.read_bytes()
    log = mirror.log

    def meanwhile(*args: Any) -> None:
        log(*args)
        paths.confusion.write_bytes(kept + b"\n")

    monkeypatch.setattr(run, "find", lambda *args: None)
    monkeypatch.setattr(mirror, "log", meanwhile)
    before = set(runs(logged))
    try:
        with pytest.raises(TrackingError, match="must stay as they are while they are logged"):
            run.complete(params, paths, None)
    finally:
        paths.confusion.write_bytes(kept)
    (torn,) = set(runs(logged)) - before
    found = client(logged).get_run(torn)
    assert (found.info.status, found.data.tags.get(COMPLETE)) == ("FAILED", None)
    client(logged).delete_run(torn)
