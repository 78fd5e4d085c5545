"""`graft doctor` names what stands between a project and the same numbers twice, and mends what is safe."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from conftest import REPOSITORY, default_params, params_of
from graft.cli import app
from graft.doctor import environment, run, runs, sharing, sources
from graft.doctor.finding import Finding, Project, State
from graft.errors import TrackingError
from graft.tracking import server, store


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A folder with dvc.yaml and params.yaml, in which it is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("dvc.yaml", "params.yaml", ".gitignore"):
        shutil.copy(REPOSITORY / name, tmp_path)
    return Project(tmp_path, params_of({}, default_params()))


def git(folder: Path, *arguments: str) -> None:
    names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


def only(findings: Any, about: str) -> Finding:
    (found,) = (one for one in findings if one.about == about)
    return found


def test_versions_are_held_against_the_lock_file_of_this_python(project: Project) -> None:
    here = version("numpy")
    lock = project.root / "requirements.lock"
    lock.write_text(
        f"numpy==1.0 ; python_full_version < '3.9' \\\n    --hash=sha256:0\nnumpy=={here} ; python_version > '3.8' \\\n"
    )
    found = only(environment.versions(project), "libraries")
    assert found.state is State.OK
    assert f"numpy {here}" in found.says
    lock.write_text("numpy==1.26.0 \\\n    --hash=sha256:0\n")
    found = only(environment.versions(project), "libraries")
    assert (found.state, f"numpy (1.26.0 there, {here} here)" in found.says) == (State.WARNING, True)


def test_a_variable_that_changes_numbers_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(environment.variables(project), "environment").state is State.OK
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    found = only(environment.variables(project), "environment")
    assert found.state is State.BROKEN
    assert "ONEDNN_MAX_CPU_ISA: must be AVX2 or unset" in found.says


@pytest.mark.parametrize(("free", "state"), [(1e8, State.BROKEN), (2e9, State.WARNING), (1e11, State.OK)])
def test_room_on_the_disks(project: Project, monkeypatch: pytest.MonkeyPatch, free: float, state: State) -> None:
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(project.root / "not" / "made"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, int(free)))
    (found,) = environment.disks(project)
    assert (found.state, found.says) == (state, f"{free / 1e9:.1f} GB free for the project, graft's cache")


def test_params_data_and_weights(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(sources.data(project), "data").state is State.WARNING
    (project.root / "data" / "digits").mkdir(parents=True)
    assert only(sources.data(project), "data").state is State.OK
    assert only(sources.weights(project), "weights").state is State.OK
    lost = Project(project.root, params_of({"backbone.weights": "lost.h5"}, default_params()))
    assert only(sources.weights(lost), "weights").state is State.BROKEN
    away = {"backbone.weights": "imagenet", "backbone.name": "ResNet50", "backbone.input_size": 64}
    monkeypatch.setattr(sources, "keras_models", lambda: project.root)
    far = Project(project.root, params_of(away, default_params()))
    assert only(sources.weights(far), "weights").state is State.WARNING
    (project.root / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5").touch()
    assert only(sources.weights(far), "weights").state is State.OK
    (project.root / "params.yaml").write_text("seed: 42\n")
    found = only(sources.params(run.project(project.root)), "params.yaml")
    assert found.state is State.BROKEN
    assert "data: must be present" in found.says


def test_what_git_has(project: Project) -> None:
    git(project.root, "init", "-q")
    assert only(sources.repository(project), "git").says.startswith("no commit")
    git(project.root, "add", ".")
    git(project.root, "commit", "-qm", "start")
    assert only(sources.repository(project), "git").says.startswith("clean, at ")
    assert only(sources.kept(project), "git and DVC").state is State.OK
    (project.root / "params.yaml").write_text("seed: 1\n")
    (project.root / "notes.txt").write_text("mine")
    assert only(sources.repository(project), "git").says == "not committed: notes.txt, params.yaml"

    (project.root / ".gitignore").write_text("dvc.lock\n*.json\n")
    (project.root / "models").mkdir()
    (project.root / "models" / "head.keras").write_text("weights")
    git(project.root, "add", "-f", "models/head.keras")
    ignored, doubled = sources.kept(project)
    assert (ignored.state, doubled.state) == (State.BROKEN, State.BROKEN)
    assert "git ignores dvc.lock, metrics/summary.json," in ignored.says
    assert "both hold models/head.keras," in doubled.says


def test_dvc_remotes_and_links(project: Project) -> None:
    assert only(sharing.dvc(project), "DVC").state is State.BROKEN
    dvc = Path(sys.executable).with_name("dvc")

    def config(*arguments: str) -> None:
        subprocess.run([dvc, *arguments], cwd=project.root, check=True, capture_output=True)

    config("init", "--no-scm", "-q")
    assert only(sharing.dvc(project), "DVC remote").says.startswith("none:")
    config("remote", "add", "-d", "team", str(project.root / "shared"))
    assert only(sharing.dvc(project), "DVC remote").state is State.BROKEN
    (project.root / "shared").mkdir()
    (project.root / "data" / "features").mkdir(parents=True)
    (project.root / "data" / "features" / "array.npy").write_bytes(bytes(3_000_000))
    found = list(sharing.dvc(project))
    assert only(found, "DVC remote").says == f"team: {project.root}/shared"
    assert ", the project 3 MB of features and activations, " in only(found, "room").says
    config("config", "cache.type", "hardlink")
    assert only(sharing.dvc(project), "DVC links").says == "cache.type hardlink: files are hardlinks"


def test_the_rights_of_a_cache_that_is_shared(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    place = project.root / "cache"
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(place))
    assert only(sharing.rights(project), "graft's cache").says == f"{place} is made when it is needed"
    (place / "features").mkdir(parents=True, mode=0o755)
    (place / "features" / "data.mdb").touch(0o644)
    place.chmod(0o755)
    assert only(sharing.rights(project), "graft's cache").state is State.OK, "it is one user's"
    place.chmod(0o2775)
    found = only(sharing.rights(project), "graft's cache")
    assert found.state is State.WARNING
    assert found.fix is not None
    found.fix()
    assert (place / "features").stat().st_mode & 0o777 == 0o775
    assert (place / "features" / "data.mdb").stat().st_mode & 0o777 == 0o664
    assert only(sharing.rights(project), "graft's cache").state is State.OK


def earlier_store(file: Path) -> str:
    """A store as an earlier MLflow made it, with one run; returns its revision."""
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine_with_retry
    from mlflow.store.tracking.dbmodels.initial_models import Base

    config = _get_alembic_config(f"sqlite:///{file}")
    revision = str([one.revision for one in ScriptDirectory.from_config(config).walk_revisions()][4])
    engine = create_sqlalchemy_engine_with_retry(f"sqlite:///{file}")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(
            "INSERT INTO experiments (experiment_id, name, lifecycle_stage, artifact_location) "
            "VALUES (1, 'mine', 'active', 'file:///x')"
        )
        database.execute(
            "INSERT INTO runs (run_uuid, name, experiment_id, status, lifecycle_stage, source_type, artifact_uri, "
            "user_id, start_time) VALUES ('abc', 'kept', 1, 'FINISHED', 'active', 'LOCAL', 'file:///x', 'me', 0)"
        )
    return revision


def test_a_store_of_an_earlier_mlflow_is_copied_and_brought_up_to_date(project: Project) -> None:
    assert only(runs.tracking(project), "MLflow").says == f"{project.root}/mlflow.db is made by the first run"
    assert not (project.root / "mlflow.db").exists()
    file = project.root / "mlflow.db"
    revision = earlier_store(file)
    before = file.read_bytes()
    found = only(runs.tracking(project), "MLflow")
    assert (found.state, found.says) == (
        State.BROKEN, f"{file}, 1 run, with the tables of another MLflow than this one"
    )  # fmt: skip
    with pytest.raises(TrackingError, match="Run `graft doctor --fix`"):
        server.connect("mine")
    assert file.read_bytes() == before

    assert found.fix is not None
    found.fix()
    client, experiment = server.connect("mine")
    assert [one.info.run_name for one in client.search_runs([experiment])] == ["kept"]
    with closing(sqlite3.connect(f"{file}.before-{revision}")) as copy:
        assert copy.execute("SELECT version_num FROM alembic_version").fetchone() == (revision,)
        assert copy.execute("SELECT name FROM runs").fetchall() == [("kept",)]
    assert only(runs.tracking(project), "MLflow").state is State.OK


def test_a_store_of_a_later_mlflow_stays_as_it_is(project: Project) -> None:
    file = project.root / "mlflow.db"
    with closing(sqlite3.connect(file)) as database, database:
        for statement in (
            "CREATE TABLE alembic_version (version_num)", "INSERT INTO alembic_version VALUES ('ffffffffffff')",
            "CREATE TABLE runs (x)", "INSERT INTO runs VALUES (1)",
        ):  # fmt: skip
            database.execute(statement)
    before = file.read_bytes()
    with pytest.raises(TrackingError, match=r"can bring up to date.*It is as it was"):
        store.migrate(file)
    assert file.read_bytes() == before


def test_a_server_that_does_not_answer_is_broken(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    found = only(runs.tracking(project), "MLflow")
    assert found.state is State.BROKEN
    assert "secret" not in found.says


def test_the_command(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(project.root / "cache"))
    (project.root / "data" / "digits").mkdir(parents=True)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1, "there is no DVC"
    states = {one["about"]: one["state"] for one in json.loads(done.stdout)}
    assert states["DVC"] == "broken"
    assert states["params.yaml"] == states["MLflow"] == "ok"
    subprocess.run(
        [Path(sys.executable).with_name("dvc"), "init", "--no-scm", "-q"], cwd=project.root, check=True
    )  # fmt: skip
    (project.root / "mlflow.db").touch()
    done = CliRunner().invoke(app, ["doctor", "--fix"])
    assert done.exit_code == 0, done.output
    assert store.health(project.root / "mlflow.db").is_whole
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("broken   MLflow") for line in lines)
    assert [line.split()[0] for line in lines if line.startswith("broken")] == ["broken"]
    (project.root / "dvc.yaml").unlink()
    assert "graft init" in str(CliRunner().invoke(app, ["doctor"]).exception)
