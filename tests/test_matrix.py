"""Whatever ran and whatever came from a cache, by whichever of DVC's ways, in whichever store: one whole run.

A row of the matrix is what DVC has before, a column how DVC is asked, and each cell is there in a file and on a server.
One cell is in the suite and CI has one more; `make stress` has the rest (docs/stress.md).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest

import complete_run
import tracking_server
from conftest import QUICK_STEP, Project, changed, few_layers, make_project, tiny_params

ALL = complete_run.STAGES
BEFORE: dict[str, tuple[tuple[str, ...], str, tuple[float, float]]] = {
    "nothing cached": (ALL, "train.learning_rate", (0.02, 0.03)),
    "features cached": (ALL[2:], "train.learning_rate", (0.02, 0.03)),
    "all but evaluate cached": (ALL[4:], "evaluate.confidence", (0.9, 0.8)),
    "all restored": ((), "evaluate.confidence", (0.95, 0.7)),
}
"""What DVC has -> the stages that are executed, and the parameter and its values by which that comes about."""

QUEUE = "exp run --queue"
WAYS = ("repro", "exp run", "exp run --temp", QUEUE)
STORES = ("SQLite", "PostgreSQL")
FIRST = ("nothing cached", "repro", "SQLite")
"""The cell that makes what others begin with."""

IN_CI = {("all but evaluate cached", "exp run --temp", "SQLite")}
"""With the first one; the others take a minute each."""


def _marks(cell: tuple[str, ...]) -> list[pytest.MarkDecorator]:
    return [] if cell == FIRST else [pytest.mark.long if cell in IN_CI else pytest.mark.stress]


CELLS = [pytest.param(*cell, id=", ".join(cell), marks=_marks(cell)) for cell in product(BEFORE, WAYS, STORES)]
QUEUE_WITHIN_SECONDS = 240


@dataclass
class Cell:
    """store: the tracking URI. values: of `key`, one for each experiment."""

    project: Project
    store: str
    experiment: str
    key: str
    values: tuple[float, ...]

    def run(self, way: str) -> None:
        """DVC is asked this way, as often as there are values."""
        if way == "repro":
            section, name = self.key.split(".")
            self.project.change(**{section: {name: self.values[0]}})
            self.project.run("dvc", "repro")
        elif way == QUEUE:
            self._run_queue()
        else:
            self.project.run("dvc", *way.split(), "-S", f"{self.key}={self.values[0]}")

    def _run_queue(self) -> None:
        before = len(self.experiments())
        listed = ",".join(map(str, self.values))
        self.project.run("dvc", *QUEUE.split(), "-S", f"{self.key}={listed}")
        self.project.run("dvc", "queue", "start", "--jobs", "2")
        began = time.monotonic()
        while len(self.experiments()) < before + len(self.values):
            assert time.monotonic() - began < QUEUE_WITHIN_SECONDS, self.project.run("dvc", "queue", "status").stdout
            time.sleep(0.3)
        psutil.wait_procs(workers_of(self.project.folder), timeout=60)

    def experiments(self) -> dict[str, str]:
        """The name of each of DVC's experiments -> its commit."""
        listed = self.project.run("git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps/").stdout
        return dict(re.findall(r"^refs/exps/\w\w/\w{38}/(\S+) (\w+)$", listed, re.MULTILINE))

    def client(self) -> Any:
        return mlflow.MlflowClient(self.store)

    def runs(self) -> list[Any]:
        """In MLflow's experiment of this cell; none before there is one."""
        if self.store.startswith("sqlite") and not (self.project.folder / "mlflow.db").exists():
            return []
        client = self.client()
        found = client.get_experiment_by_name(self.experiment)
        return list(client.search_runs([found.experiment_id])) if found else []


def workers_of(folder: Path) -> list[psutil.Process]:
    """Processes that DVC's queue has started here."""
    found = []
    for process in psutil.process_iter():
        try:
            if "queue-worker" in process.cmdline() and Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


class Began:
    """Projects in which so much has happened; each is made once, and copied for every cell that begins there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, Project] = {}

    def copy(self, name: str, target: Path) -> Project:
        """Without MLflow's store, and with the same cache of graft's."""
        made = self.made(name)
        shutil.copytree(made.folder, target, symlinks=True)
        project = Project(target)
        for store in ("mlflow.db", "mlflow.db.lock", "mlruns", ".graft"):
            place = target / store
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        project.environment["GRAFT_CACHE_DIR"] = made.environment["GRAFT_CACHE_DIR"]
        return project

    def made(self, name: str) -> Project:
        if name not in self._made:
            self._made[name] = {
                "fresh": self._fresh, "passed": self._passed, "forgotten": self._forgotten,
                "forgotten both": self._forgotten_both,
            }[name]()  # fmt: skip
        return self._made[name]

    def _fresh(self) -> Project:
        """Nothing has run yet."""
        network = few_layers(self._folder)
        network["backbone.weights_sha256"] = hashlib.sha256(Path(network["backbone.weights"]).read_bytes()).hexdigest()
        small = {"extract.views": 0, "train.epochs": 2, "finetune.epochs": 1}
        project = make_project(self._folder / "fresh", changed(tiny_params(), QUICK_STEP | network | small), 6)
        project.environment["GRAFT_CACHE_DIR"] = str(self._folder / "cache")
        return project

    def _passed(self) -> Project:
        """A pass has run, and is committed."""
        project = self.copy("fresh", self._folder / "passed")
        project.run("dvc", "repro")
        project.commit()
        return project

    def _forgotten(self) -> Project:
        """DVC has the pass, but nothing of it is in the folder any more, nor in git."""
        return self._without_outputs(self.copy("passed", self._folder / "forgotten"))

    def _forgotten_both(self) -> Project:
        """Nor of a second one."""
        project = self.copy("passed", self._folder / "forgotten both")
        _, key, (first, second) = BEFORE["all restored"]
        section, name = key.split(".")
        project.change(**{section: {name: second}})
        project.run("dvc", "repro")
        project.change(**{section: {name: first}})
        return self._without_outputs(project)

    def _without_outputs(self, project: Project) -> Project:
        (project.folder / "dvc.lock").unlink()
        outputs = ("metrics", "models", "plots", *(f"data/{name}" for name in ("prepared", "features", "activations")))
        for folder in outputs:
            shutil.rmtree(project.folder / folder)
        for file in ("evaluation.json", "predictions.parquet"):
            (project.folder / "data" / file).unlink()
        project.commit()
        return project


@pytest.fixture(scope="module")
def began(tmp_path_factory: pytest.TempPathFactory) -> Began:
    return Began(tmp_path_factory.mktemp("matrix"))


@pytest.fixture(scope="module")
def server() -> Iterator[tracking_server.Server]:
    with tracking_server.running() as server:
        yield server


@pytest.fixture
def cell(before: str, way: str, store: str, began: Began, tmp_path: Path, request: pytest.FixtureRequest) -> Cell:
    """Before DVC is asked; FIRST is made already."""
    _, key, values = BEFORE[before]
    if (before, way, store) == FIRST:
        project = began.made("passed")
        return Cell(project, f"sqlite:///{project.folder}/mlflow.db", "graft", key, (0.01,))
    twice = way == QUEUE and (before, way, store) not in IN_CI
    restored = "forgotten both" if twice else "forgotten"
    name = {"nothing cached": "fresh", "all restored": restored}.get(before, "passed")
    project = began.copy(name, tmp_path / "project")
    uri = f"sqlite:///{project.folder}/mlflow.db"
    if store == "PostgreSQL":
        uri = project.environment["MLFLOW_TRACKING_URI"] = request.getfixturevalue("server").address
    if before == "nothing cached":
        project.environment["GRAFT_CACHE_DIR"] = str(tmp_path / "cache")
    experiment = f"{before}, {way}"
    project.change(tracking={"experiment": experiment})
    project.commit()
    return Cell(project, uri, experiment, key, values if twice else values[:1])


@pytest.mark.parametrize(("before", "way", "store"), CELLS)
def test_every_pass_is_one_whole_run(cell: Cell, before: str, way: str, store: str, tmp_path: Path) -> None:
    executed = BEFORE[before][0]
    if (before, way, store) != FIRST:
        cell.run(way)
    log = ("graft", "log", *(() if way == "repro" else ("--experiments",)))
    if not executed:
        assert cell.runs() == [], "nothing ran that could have logged"
        cell.project.run(*log)
    runs = cell.runs()
    by_value = {float(run.data.params[cell.key]): run for run in runs}
    assert sorted(by_value) == sorted(cell.values)
    assert len(runs) == len(cell.values)
    files = {None: complete_run.of_workspace(cell.project)} if way == "repro" else {
        name: complete_run.of_commit(cell.project, commit) for name, commit in cell.experiments().items()
    }  # fmt: skip
    assert len(files) == len(cell.values)
    section, name = cell.key.split(".")
    for experiment, these in files.items():
        run = by_value[these.params[section][name]]
        folder = tmp_path / str(experiment)
        folder.mkdir()
        complete_run.assert_complete(cell.client(), run, these, executed, folder)
        assert run.data.tags.get("dvc.exp_name") == experiment
    assert_no_second(cell, way, log, (before, way, store) in {FIRST, *IN_CI})


def assert_no_second(cell: Cell, way: str, log: tuple[str, ...], quick: bool) -> None:
    """An unchanged state makes no second run; a stage that is forced to run again names the run that is there."""
    ids = {run.info.run_id for run in cell.runs()}
    cell.project.run(*log)
    if way == "repro" or not quick:
        cell.run(way)
    if way == "repro" and not quick:
        said = cell.project.run("dvc", "repro", "--force").stderr
        assert f"({next(iter(ids))})" in said.partition("reproduced: the same bytes as MLflow run")[2]
    assert {run.info.run_id for run in cell.runs()} == ids


@pytest.mark.stress
def test_a_database_without_a_server_is_a_store_too(
    began: Began, server: tracking_server.Server, tmp_path: Path
) -> None:
    """`graft plan` looks into it, and makes nothing there; artefacts lie in the project, also of a temporary folder."""
    project = began.copy("passed", tmp_path / "project")
    project.change(tracking={"experiment": "no server"})
    project.commit()
    project.environment["MLFLOW_TRACKING_URI"] = server.database

    def planned() -> Any:
        return json.loads(project.run("graft", "plan", "--json", "-").stdout)["mlflow"]

    client = mlflow.MlflowClient(server.address)
    assert planned()["kind"] == "nothing"
    assert client.get_experiment_by_name("no server") is None
    run_id = project.run("graft", "log").stdout.strip()
    found = planned()
    assert (found["kind"], found["run"]) == ("same", run_id)
    project.run("dvc", "exp", "run", "--temp", "-S", "evaluate.confidence=0.9")
    runs = client.search_runs([client.get_experiment_by_name("no server").experiment_id])
    assert len(runs) == 2
    for run in runs:
        assert (project.folder / "mlruns" / run.info.run_id / "artifacts" / "plots" / "curves.png").is_file()
    silent = server.database.replace("host=", "host=/nowhere")
    found = json.loads(project.run("graft", "plan", "--json", "-", MLFLOW_TRACKING_URI=silent).stdout)["mlflow"]
    assert found["kind"] == "unknown"
    assert "does not answer now" in found["sentence"]
