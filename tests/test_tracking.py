"""The store and the run, without the pipeline: first use, faults, resuming, a store that dies meanwhile."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import mlflow
import pytest
import yaml

from conftest import REPOSITORY, changed, default_params, paths_in
from graft.config.load import load
from graft.errors import TrackingError
from graft.pipeline import layout
from graft.tracking import git, live, names, run, server, sought, store

CONNECT_AT_ONCE = """
import os, sys
import mlflow.store.tracking.sqlalchemy_store, mlflow.tracing.processor.mlflow_v3
from graft.tracking import server
started = []
for _ in range(3):
    started.append(os.fork())
    if started[-1] == 0:
        print(server.connect("shared")[1], flush=True)
        os._exit(0)
sys.exit(any(os.waitpid(process, 0)[1] for process in started))
"""
"""Processes that begin together, once what they import is imported."""
DEFAULT = load(REPOSITORY / "params.yaml")


@pytest.mark.long
def test_three_at_once_make_one_store(tmp_path: Path) -> None:
    """MLflow itself fails here: each process would create the tables."""
    command = [sys.executable, "-c", CONNECT_AT_ONCE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert len(set(done.stdout.splitlines())) == 1


@pytest.mark.parametrize(
    "uri",
    ["foo://bar", "postgresql://nobody@127.0.0.1:1/x", "sqlite:////proc/none/x.db", "http://localhost:abc", "./mlruns"],
)
def test_what_is_no_store_is_one_error(uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrackingError, match=r"^MLFLOW_TRACKING_URI: "):
        server.connect("x")


@pytest.mark.parametrize(
    ("uri", "got"),
    [
        ("postgresql+psycopg2://me:secret@127.0.0.1:1/x", "connection refused"),
        ("foo://me:secret@bar", "can't load plugin"),
        ("./mlruns", "could not parse"),
        ("sqlite:///no.db", "file is not a database"),
    ],
)
def test_a_store_that_cannot_be_looked_into_is_one_error(
    uri: str, got: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Within seconds, and nothing is made; what is an error later must not stop a plan."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no.db").write_text("no database at all, but some text" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError) as caught:
        sought.of_pass("x", "y", 2)
    assert got in str(caught.value).lower()
    assert "secret" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["no.db"]


def test_a_relative_sqlite_path_is_meant_from_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///own.db")
    assert server.uri() == f"sqlite:///{tmp_path}/own.db"


@pytest.mark.parametrize("names", [("a b", "a%20b", "a%2Fb", "a?b", "a#b", "a'b"), ('a"b', "caf\u00e9", "%")])
def test_a_project_lies_where_it_likes(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a folder within a folder within ..., each of a name that an address would have otherwise."""
    folder = tmp_path.joinpath(*names)
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    connected, experiment = server.connect("x")
    created = connected.create_run(experiment)
    connected.log_text(created.info.run_id, "hello", "greeting.txt")
    assert {path.name for path in Path.cwd().iterdir()} == {"mlflow.db", "mlflow.db.lock", "mlruns"}
    assert (Path("mlruns") / created.info.run_id / "artifacts" / "greeting.txt").read_text() == "hello"


def tables(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        for statement in statements:
            database.execute(statement)


@pytest.mark.parametrize(
    "statements",
    [
        None,
        ["CREATE TABLE experiments (x)", "CREATE TABLE runs (x)"],
        ["CREATE TABLE alembic_version (version_num)", "CREATE TABLE runs (x)"],
    ],
    ids=["empty file", "no version", "no number"],
)
def test_a_half_made_store_is_made_anew(
    statements: list[str] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").touch()
    (tmp_path / "mlflow.db.new").write_text("what a killed process left")
    tables(tmp_path / "mlflow.db", *(statements or []))
    assert server.connect("x")[1] == "1"
    assert "was half made and held no run; it is mlflow.db.half-made now" in capsys.readouterr().err
    assert (tmp_path / "mlflow.db.half-made").exists()
    assert not (tmp_path / "mlflow.db.new").exists()


def test_a_store_that_is_damaged_and_holds_runs_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tables(tmp_path / "mlflow.db", "CREATE TABLE runs (x)", "INSERT INTO runs VALUES (1)")
    with pytest.raises(TrackingError, match=r"holds 1 runs of another one. Run `graft doctor --fix`"):
        server.connect("x")
    (tmp_path / "mlflow.db").write_bytes(b"no database at all, but some text" * 100)
    with pytest.raises(TrackingError, match=r"must be a SQLite store of MLflow's. Got: file is not a database"):
        server.connect("x")


def test_a_store_that_a_killed_process_was_writing_is_read_as_it_was_before(tmp_path: Path) -> None:
    """It leaves a journal beside the file, by which SQLite takes the change back."""
    file = tmp_path / "mlflow.db"
    tables(file, "CREATE TABLE runs (x)", *[f"INSERT INTO runs VALUES ('{'a' * 500}')"] * 200)
    killed = (
        "import os, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for statement in ('PRAGMA cache_size = 5', 'BEGIN IMMEDIATE', 'DELETE FROM runs'):\n"
        "    database.execute(statement)\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", killed, str(file)], check=False)
    assert (tmp_path / "mlflow.db-journal").exists()
    assert store.health(file) == store.Health("", False, 200)


def test_a_moved_project_has_its_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old").mkdir()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path / "old")
    connected, experiment = server.connect("x")
    created = connected.create_run(experiment)
    connected.log_text(created.info.run_id, "hello", "greeting.txt")
    (tmp_path / "old").rename(tmp_path / "new place")
    monkeypatch.chdir(tmp_path / "new place")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    connected, _ = server.connect("x")
    assert "its runs follow it" in capsys.readouterr().err
    assert Path(connected.download_artifacts(created.info.run_id, "greeting.txt")).read_text() == "hello"
    later = connected.create_run(experiment)
    connected.log_text(later.info.run_id, "again", "greeting.txt")
    assert (tmp_path / "new place" / "mlruns" / later.info.run_id / "artifacts" / "greeting.txt").exists()
    assert not (tmp_path / "old").exists()


def test_other_places_are_left_where_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what was the project's own follows it, to the letter: `_` is no wildcard."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    connected, _ = server.connect("x")
    shared = connected.create_experiment("shared", artifact_location="file:///data/shared/mlruns")
    file, old = tmp_path / "mlflow.db", "file:///o/a_c/mlruns"
    tables(
        file,
        f"UPDATE experiments SET artifact_location = '{old}' WHERE name = 'x'",
        f"UPDATE experiment_tags SET value = '{old}' WHERE key = 'graft.artifacts'",
    )
    alike = connected.create_experiment("alike", artifact_location="file:///o/abc/mlruns")
    connected, experiment = server.connect("x")
    places = [connected.get_experiment(one).artifact_location for one in (experiment, shared, alike)]
    assert places == [(tmp_path / "mlruns").as_uri(), "file:///data/shared/mlruns", "file:///o/abc/mlruns"]


def test_passwords_and_statements_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    assert server.shown() == "http://127.0.0.1:1"
    with pytest.raises(TrackingError) as caught:
        server.connect("x")
    assert "secret" not in str(caught.value)
    assert "http://127.0.0.1:1 must be a reachable MLflow server" in str(caught.value)
    error = Exception("no such table\n[SQL: SELECT 1]\n(Background on this error at: https://x.y) http://a:b@c/d")
    assert server.reason(error) == "no such table"
    for user in ("a:b", "a:p@ss", "a:b/c"):
        assert server.reason(Exception(f"at http://{user}@c/d")) == "at http://c/d"


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> layout.Paths:
    """Files that enter training, in a folder that is the project's root; runs are opened before training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(live, "SOON_SECONDS", 0)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "dvc.yaml").write_text((REPOSITORY / "dvc.yaml").read_text())
    paths = paths_in(tmp_path)
    for path in (paths.catalogue, paths.split, paths.features / "meta.json", paths.activations / "meta.json"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(path.name))
    return paths


def client(folder: Path) -> Any:
    return mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")


def test_a_crashed_stage_is_resumed_by_the_same_code(inputs: layout.Paths, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), live.live("train", DEFAULT, inputs) as on_epoch:  # noqa: PT012
        on_epoch(1, {"loss": 2.0})
        raise RuntimeError("killed")
    (crashed,) = client(tmp_path).search_runs(["1"])
    assert crashed.info.status == "FAILED"
    with live.live("train", DEFAULT, inputs) as on_epoch:
        on_epoch(1, {"loss": 2.0})
        on_epoch(2, {"loss": 1.0})
    (resumed,) = client(tmp_path).search_runs(["1"])
    assert resumed.info.run_id == crashed.info.run_id
    assert resumed.info.status == "FINISHED"
    history = client(tmp_path).get_metric_history(resumed.info.run_id, "while_training_loss")
    assert [(point.step, point.value) for point in history] == [(1, 2.0), (2, 1.0)]


def test_what_is_trained_soon_needs_no_run_yet(
    inputs: layout.Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow takes two seconds to start, which `evaluate` does anyway. One that fails is told of nevertheless."""
    monkeypatch.setattr(live, "SOON_SECONDS", 60)
    with live.live("train", DEFAULT, inputs) as on_epoch:
        on_epoch(1, {"loss": 2.0})
    with pytest.raises(KeyboardInterrupt), live.live("train", DEFAULT, inputs):
        raise KeyboardInterrupt
    assert not (tmp_path / "mlflow.db").exists()
    with pytest.raises(RuntimeError), live.live("train", DEFAULT, inputs) as on_epoch:  # noqa: PT012
        on_epoch(1, {"loss": 2.0})
        raise RuntimeError("diverged")
    (failed,) = client(tmp_path).search_runs(["1"])
    assert failed.info.status == "FAILED"
    assert failed.data.metrics == {"while_training_loss": 2.0}


def test_what_takes_longer_is_there_while_it_is_trained(
    inputs: layout.Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SOON_SECONDS", 0.01)
    seen: list[Any] = []
    with live.live("train", DEFAULT, inputs) as on_epoch:
        on_epoch(1, {"loss": 2.0})
        given_up = time.monotonic() + 60
        while not (seen and seen[0].data.metrics) and time.monotonic() < given_up:
            time.sleep(0.02)
            seen = list(client(tmp_path).search_runs(["1"])) if (tmp_path / "mlflow.db").exists() else []
    assert [(one.info.status, one.data.metrics) for one in seen] == [("RUNNING", {"while_training_loss": 2.0})]
    assert client(tmp_path).get_run(seen[0].info.run_id).info.status == "FINISHED"


def test_a_store_that_cannot_be_opened_beside_training_is_a_note(
    inputs: layout.Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no database at all is said before training: that needs no MLflow."""
    monkeypatch.setattr(live, "SOON_SECONDS", 0.01)
    tables(tmp_path / "mlflow.db", "CREATE TABLE runs (x)", "INSERT INTO runs VALUES (1)")
    with live.live("train", DEFAULT, inputs):
        time.sleep(0.1)
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds 1 runs of another one" in line
    assert line.endswith("Training goes on; `evaluate` will log it from the files.")
    (tmp_path / "mlflow.db").write_bytes(b"no database at all, but some text" * 100)
    with pytest.raises(TrackingError, match="must be a SQLite store"), live.live("train", DEFAULT, inputs):
        pytest.fail("trained")


def test_other_code_makes_another_run(inputs: layout.Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for commit in ("a" * 40, "b" * 40):
        state = git.CodeState(commit, False, "")
        monkeypatch.setattr(git, "state", lambda folder, written, state=state: state)
        with live.live("train", DEFAULT, inputs) as on_epoch:
            on_epoch(1, {"loss": 2.0})
    assert len(client(tmp_path).search_runs(["1"])) == 2


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With one commit, of code.py and of a .gitignore that leaves out `ignored/`."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "code.py").write_text("1\n")
    (tmp_path / ".gitignore").write_text("/ignored/\n")
    (tmp_path / "dvc.yaml").write_text((REPOSITORY / "dvc.yaml").read_text())
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_untracked_code_is_code(repository: Path) -> None:
    """By what it holds, wherever it lies; not what is ignored, nor what a pass itself writes."""
    digests = [git.state(repository, []).digest]
    file = repository / "new" / "köpfe neu.py"
    file.parent.mkdir()
    for text in ("1\n", "2\n"):
        file.write_text(text)
        digests.append(git.state(repository, []).digest)
    file.rename(repository / "new" / "other.py")
    digests.append(git.state(repository, []).digest)
    (repository / "code.py").write_text("2\n")
    digests.append(git.state(repository, []).digest)
    assert len(set(digests)) == 5
    for name in ("ignored/x.py", "models/model.keras", ".graft/executed.json", "mlflow.db-wal", "plots/.gitignore"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("x")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        written = run.written()
    state = git.state(repository, written)
    assert state.digest == digests[-1]
    assert list(state.untracked) == ["new/other.py"]
    assert state.dirty


def test_what_is_logged_names_untracked_files_by_hash(repository: Path) -> None:
    """Not by content: it goes to a server that others read, and nobody has added these files."""
    (repository / "code.py").write_text("2\n")
    (repository / "password.txt").write_text("secret")
    (repository / os.fsdecode(b"\xff.py")).write_text("1")
    (repository / "link").symlink_to("/etc/hostname")
    lines = git.state(repository, []).uncommitted.splitlines()
    assert "+2" in lines
    sha256 = hashlib.sha256(b"secret").hexdigest()
    assert lines[-3:] == [
        "untracked link:/etc/hostname link",
        f"untracked sha256:{sha256} password.txt",
        f"untracked sha256:{hashlib.sha256(b'1').hexdigest()} ?.py",
    ]


def test_untracked_photos_do_not_hold_up_a_run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are read first; what is beyond the limit counts by its size."""
    monkeypatch.setattr(git, "READ_BYTES", 10)
    for name, size in (("photo.jpg", 9), ("a.py", 3), ("b.py", 4)):
        (repository / name).write_bytes(b"x" * size)
    (repository / "apart").mkdir()
    subprocess.run(["git", "init", "-q"], cwd=repository / "apart", check=True)
    untracked = git.state(repository, []).untracked
    kinds = {name: content.split(":")[0] for name, content in untracked.items()}
    assert kinds["photo.jpg"] == "bytes"
    assert (kinds["a.py"], kinds["b.py"]) == ("sha256", "sha256")
    assert untracked["photo.jpg"] == "bytes:9"


def test_a_store_that_dies_does_not_stop_the_training(
    inputs: layout.Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(*args: object, **kwargs: object) -> None:
        raise OSError("connection reset")

    finished = []
    with live.live("train", DEFAULT, inputs) as on_epoch:
        monkeypatch.setattr(mlflow.MlflowClient, "log_batch", gone)
        for epoch in (1, 2, 3):
            on_epoch(epoch, {"loss": 1.0})
            finished.append(epoch)
    assert finished == [1, 2, 3]
    assert capsys.readouterr().err.count("note: MLflow failed in epoch 1 (connection reset); training goes on") == 1


class Ailing(http.server.BaseHTTPRequestHandler):
    """As much of an MLflow server as a training stage needs, until `ails`: then it hangs, or answers 500."""

    ails: ClassVar[str] = ""
    ill_calls: ClassVar[list[str]] = []
    well_again: ClassVar[threading.Event] = threading.Event()

    RUN: ClassVar[dict[str, Any]] = {
        "info": {"run_id": "1", "run_name": "a", "experiment_id": "1", "status": "RUNNING"}
    }
    ANSWERS: ClassVar[dict[str, Any]] = {
        "get-by-name": {"experiment": {"experiment_id": "1", "name": "x", "lifecycle_stage": "active"}},
        "create": {"run": RUN},
    }

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        what = self.path.split("?")[0].rsplit("/", 1)[-1]
        if self.ails:
            self.ill_calls.append(what)
        if self.ails == "hang":
            self.well_again.wait()
            return
        content = json.dumps(self.ANSWERS.get(what, {})).encode()
        self.send_response(500 if self.ails else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize("ails", ["hang", "500"])
def test_a_server_that_ails_in_training_costs_seconds(
    inputs: layout.Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ails: str
) -> None:
    """One line, and at the end no more than two calls' patience, however many epochs there were."""
    for name, value in (("TIMEOUT", "1"), ("MAX_RETRIES", "0")):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    monkeypatch.setattr(Ailing, "ails", "")
    monkeypatch.setattr(Ailing, "ill_calls", [])
    monkeypatch.setattr(Ailing, "well_again", threading.Event())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ailing) as ailing:
        threading.Thread(target=ailing.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{ailing.server_port}")
        with live.live("train", DEFAULT, inputs) as on_epoch:
            Ailing.ails = ails
            began = time.monotonic()
            for epoch in range(1, 51):
                on_epoch(epoch, {"loss": 1.0})
            assert time.monotonic() - began < 0.5, "training waits for no server"
        assert time.monotonic() - began < 4
        Ailing.well_again.set()
        ailing.shutdown()
    assert Ailing.ill_calls == ["get-history", "update"]
    said = capsys.readouterr().err
    assert said.count("note: ") == said.count("note: MLflow failed in epoch 1 (") == 1, said


def test_the_pass_is_named_by_what_computes_something(inputs: layout.Paths) -> None:
    def with_changes(**sections: dict[str, Any]) -> str:
        changed = {name: getattr(DEFAULT, name).model_copy(update=values) for name, values in sections.items()}
        return run.pass_id(DEFAULT.model_copy(update=changed), inputs)

    same = run.pass_id(DEFAULT, inputs)
    assert with_changes(tracking={"experiment": "other"}, data={"path": "/elsewhere"}) == same
    runners = {name: {"runner": "ray"} for name in ("data", "extract", "train")}
    assert with_changes(ray={"address": "auto", "actors": 8}, **runners) == same
    assert with_changes(train={"learning_rate": 0.5}) != same
    inputs.split.write_text("another split")
    assert run.pass_id(DEFAULT, inputs) != same


@pytest.mark.parametrize(
    ("changes", "experiment", "name"),
    [
        ({}, None, "linear, from block_13_expand, MobileNetV2 0.35 bundled"),
        ({"train.learning_rate": 0.003}, None, "learning_rate=0.003"),
        ({"finetune.learning_rate": 1e-5}, None, "finetune.learning_rate=1e-05"),
        ({"data.split.method": "counts", "seed": 7}, "calm-bear", "calm-bear: seed=7, split.method=counts"),
        ({"tracking.tags": {"a": "b"}}, None, "linear, from block_13_expand, MobileNetV2 0.35 bundled"),
        ({"extract.runner": "ray", "ray.actors": 2}, None, "linear, from block_13_expand, MobileNetV2 0.35 bundled"),
        ({"data.classes": {"odd": ["1", "3"], "even": "*"}}, None, "data.classes={'odd': ['1', '3'], 'even': '*'}"),
        (
            {f"train.{key}": 7 for key in ("batch_size", "epochs", "warmup_steps", "learning_rate")}
            | {"train.weight_decay": 0.7},
            None,
            "learning_rate=7, weight_decay=0.7, warmup_steps=7, batch_size=7 and 1 more",
        ),
    ],
)  # fmt: skip
def test_runs_are_named_by_what_differs_from_the_commit(
    changes: dict[str, Any], experiment: str | None, name: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    if experiment is not None:
        monkeypatch.setenv("DVC_EXP_NAME", experiment)
    shutil.copy(REPOSITORY / "params.yaml", repository)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", *identity, "commit", "-qm", "params"], check=True)
    (repository / "params.yaml").write_text(yaml.safe_dump(changed(default_params(), changes), sort_keys=False))
    assert names.of(load(repository / "params.yaml")) == name
