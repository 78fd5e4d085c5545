"""The ledger of the test set: which models were judged on the same test images, by git and by MLflow."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from conftest import REPOSITORY, Project, params_of, paths_in
from graft.cli import runs
from graft.config import yaml_file
from graft.examples.catalogue import COLUMNS, Catalogue
from graft.pipeline import layout, lock
from graft.tracking import git, ledger, server

Rows = list[tuple[str, str, str, str]]
ROWS: Rows = [("1.png", "aa", "cat", "train"), ("2.png", "bb", "cat", "test"), ("3.png", "cc", "dog", "test")]
"""path, sha256, label, split"""


def write(paths: layout.Paths, rows: Rows) -> None:
    for path in (paths.catalogue, paths.model):
        path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=["path", "sha256", "label", "split"])
    Catalogue(table.assign(state="used").reindex(columns=list(COLUMNS), fill_value="")).write(paths.catalogue)
    table[["path", "label", "split"]].to_csv(paths.split, index=False)


def digest(tmp_path: Path, rows: Rows) -> str | None:
    paths = paths_in(tmp_path)
    write(paths, rows)
    return ledger.test_split(paths)


SAME: list[Callable[[Rows], Rows]] = [
    lambda rows: rows[::-1],
    lambda rows: rows[1:],
    lambda rows: [*rows, ("4.png", "dd", "dog", "train")],
    lambda rows: [("1.png", "aa", "cat", "validation"), *rows[1:]],
    lambda rows: [rows[0], ("renamed.png", *rows[1][1:]), rows[2]],
]
OTHER: list[Callable[[Rows], Rows]] = [
    lambda rows: rows[:2],
    lambda rows: [("1.png", "aa", "cat", "test"), *rows[1:]],
    lambda rows: [*rows[:2], ("3.png", "cc", "cat", "test")],
    lambda rows: [*rows[:2], ("3.png", "changed", "dog", "test")],
]


@pytest.mark.parametrize("change", SAME, ids=["order", "fewer to train", "more to train", "to validation", "renamed"])
def test_what_is_trained_on_makes_no_other_test(tmp_path: Path, change: Callable[[Rows], Rows]) -> None:
    assert digest(tmp_path, change(ROWS)) == digest(tmp_path, ROWS)


@pytest.mark.parametrize("change", OTHER, ids=["one fewer", "one more", "another label", "another image"])
def test_other_images_or_labels_are_another_test(tmp_path: Path, change: Callable[[Rows], Rows]) -> None:
    assert digest(tmp_path, change(ROWS)) != digest(tmp_path, ROWS)


def test_no_test_image_is_no_test(tmp_path: Path) -> None:
    assert digest(tmp_path, ROWS[:1]) is None


def test_a_lock_is_read_as_yaml_would_be() -> None:
    text = (REPOSITORY / "dvc.lock").read_text()
    entry = yaml_file.parse(text, "dvc.lock")["stages"]["evaluate"]
    expected = {one["path"]: one["md5"] for one in (*entry["deps"], *entry["outs"])}
    assert ledger._read_by_evaluate(text) == expected
    assert ledger._read_by_evaluate("schema: '2.0'\nstages: {}\n") == {}


def locked(split: str, model: str, tuned_since: str | None = None) -> str:
    """A dvc.lock; tuned_since: of a model that `finetune` made after the last `evaluate`."""
    return f"""\
schema: '2.0'
stages:
  prepare:
    cmd: graft prepare
    outs:
    - path: data/prepared/split.csv
      hash: md5
      md5: {split}
      size: 1
  finetune:
    cmd: graft finetune
    outs:
    - path: models/model.keras
      hash: md5
      md5: {tuned_since or model}
      size: 1
  evaluate:
    cmd: graft evaluate
    deps:
    - path: data/prepared/split.csv
      hash: md5
      md5: {split}
      size: 1
    - path: models/model.keras
      hash: md5
      md5: {model}
      size: 1
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A folder with the data, and a lock of the split `this` and the model `now`; no repository, no store."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "dvc.yaml").write_bytes((REPOSITORY / "dvc.yaml").read_bytes())
    write(layout.read(), ROWS)
    layout.read().model.write_bytes(b"")
    lock.LOCK.write_text(locked("this", "now"))
    return Project(tmp_path)


def commit(project: Project, text: str | None) -> None:
    """Commit a dvc.lock; None: without one."""
    lock.LOCK.unlink()
    if text is not None:
        lock.LOCK.write_text(text)
    project.commit()


def log_by_hand(file: Path, runs: dict[str, tuple[str, str]]) -> None:
    """What MLflow's store holds of runs: id -> test split, model."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT)")
        for run, values in runs.items():
            for key, value in zip((ledger.TEST_SPLIT, ledger.MODEL), values, strict=True):
                database.execute("INSERT INTO tags VALUES (?, ?, ?)", (key, value, run))


def test_without_git_and_mlflow_there_is_this_model_alone(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert ledger.models(layout.read(), "graft") == {"now"}
    layout.read().catalogue.unlink()
    assert ledger.models(layout.read(), "graft") == set()
    assert capsys.readouterr().err == ""
    assert not server.store_file().exists()  # type: ignore[union-attr]


def test_models_of_all_branches_and_of_runs_count_once(project: Project) -> None:
    project.run("git", "init", "-q", "-b", "main")
    commit(project, locked("this", "first"))
    commit(project, locked("other", "elsewhere"))
    project.run("git", "checkout", "-q", "-b", "side")
    commit(project, locked("this", "aside", tuned_since="unjudged"))
    commit(project, locked("this", "first"))
    commit(project, None)
    project.run("git", "checkout", "-q", "main")
    project.run("git", "merge", "-q", "-s", "ours", "side")
    project.run("git", "branch", "-qD", "side")
    lock.LOCK.write_text(locked("this", "now"))
    assert len(git.versions(project.folder, lock.LOCK)) == 3
    assert ledger.models(layout.read(), "graft") == {"now", "first", "aside"}

    split = ledger.test_split(layout.read())
    assert split is not None
    log_by_hand(project.folder / server.STORE, {"1": (split, "first"), "2": (split, "swept"), "3": ("other", "x")})
    assert ledger.models(layout.read(), "graft") == {"now", "first", "aside", "swept"}


def test_the_interval_is_corrected_for_all_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 models: 99 % each. Wilson's interval of 356 of 359 at 99 %, by its formula: 0.968 to 0.998."""
    test = {
        "images": 359,
        "accuracy": 356 / 359,
        "accuracy_interval": {"low": 0.976, "high": 0.997, "confidence": 0.95},
    }
    for models, said in (
        ({"a"}, []),
        (
            set("abcde"),
            [
                "Judged on these test images so far: 5 models (git, MLflow). Corrected for as many looks: 0.968-0.998 "
                "(finetuned, test; 99.00% for each, 95% for all)."
            ],
        ),
    ):
        monkeypatch.setattr(ledger, "models", lambda *_, models=models: models)
        judged = {"head": {"test": test | {"accuracy": 0.5}}, "finetuned": {"test": test}}
        assert runs._looks(params_of(), paths_in(Path()), judged) == said
    assert runs._looks(params_of(), paths_in(Path()), {"head": {"validation": test}}) == []


def test_a_store_that_is_none_is_a_note(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (project.folder / server.STORE).write_text("no database, but longer than the header of one" * 9)
    assert ledger.models(layout.read(), "graft") == {"now"}
    assert "MLflow's store could not be asked which models were judged" in capsys.readouterr().err


def test_mlflow_itself_answers_as_its_file_does(project: Project) -> None:
    """Which is how a server is asked."""
    client, experiment_id = server.connect("graft")
    for model in ("first", "deleted"):
        run = client.create_run(experiment_id, tags={ledger.TEST_SPLIT: "digest", ledger.MODEL: model})
    client.create_run(experiment_id, tags={ledger.TEST_SPLIT: "another", ledger.MODEL: "other"})
    client.delete_run(run.info.run_id)
    assert ledger._in_server("digest", "graft") == {"first", "deleted"}
    assert ledger._in_file(project.folder / server.STORE, "digest") == {"first", "deleted"}
