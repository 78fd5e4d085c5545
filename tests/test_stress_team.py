"""Two people on one MLflow server, each with a clone and a cache of graft's own: `make stress` runs it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

import complete_run
import tracking_server
from conftest import QUICK_STEP, Project, changed, few_layers, make_project, tiny_params

pytestmark = pytest.mark.stress

SMALL = {"extract.views": 0, "train.epochs": 2, "finetune.epochs": 1}


@pytest.fixture(scope="module")
def server() -> Iterator[tracking_server.Server]:
    with tracking_server.running() as server:
        yield server


@pytest.fixture(scope="module")
def team(server: tracking_server.Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    """Clones of one repository, in which nothing has run yet."""
    folder = tmp_path_factory.mktemp("team")
    network = few_layers(folder)
    network["backbone.weights_sha256"] = hashlib.sha256(Path(network["backbone.weights"]).read_bytes()).hexdigest()
    make_project(folder / "origin", changed(tiny_params(), QUICK_STEP | network | SMALL), per_class=6)
    found = []
    for name in ("ann", "bob"):
        subprocess.run(["git", "clone", "-q", str(folder / "origin"), str(folder / name)], check=True)
        project = Project(folder / name)
        project.environment |= {
            "GRAFT_CACHE_DIR": str(folder / f"cache of {name}"), "MLFLOW_TRACKING_URI": server.address,
        }  # fmt: skip
        found.append(project)
    return found[0], found[1]


def at_once(team: tuple[Project, Project], *command: str) -> list[str]:
    """What it says to each of them."""
    started = [
        subprocess.Popen(
            command, cwd=one.folder, env=one.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for one in team
    ]
    said = [process.communicate(timeout=500)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert "Traceback" not in "".join(said)
    return said


@pytest.mark.parametrize("command", [("dvc", "repro"), ("graft", "log"), ("dvc", "repro", "--force")])
def test_two_people_at_once_make_one_run(
    team: tuple[Project, Project], server: tracking_server.Server, command: tuple[str, ...], tmp_path: Path
) -> None:
    """Of a pass that both compute, or log from their files into an experiment that does not know it."""
    if command[0] == "graft":
        at_once(team, "dvc", "repro")  # which has nothing to do, unless this test is asked for alone
    experiment = " ".join(command)
    for one in team:
        one.change(tracking={"experiment": experiment})
    at_once(team, *command)
    client = mlflow.MlflowClient(server.address)
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    executed = () if command[0] == "graft" else complete_run.STAGES
    complete_run.assert_complete(client, run, complete_run.of_workspace(team[0]), executed, tmp_path)
    assert (team[0].folder / "dvc.lock").read_bytes() == (team[1].folder / "dvc.lock").read_bytes()
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert model.source_run_id == run.info.run_id
    at_once(team, "graft", "log")
    assert len(client.search_runs([run.info.experiment_id])) == 1
