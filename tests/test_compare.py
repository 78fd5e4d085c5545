"""`graft compare` in a real repository: what names mean, what is printed, how it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from conftest import REPOSITORY, Project
from graft import cli
from graft.errors import StaleError, TrackingError
from graft.tracking import git, outcomes, server
from graft.verdicts import words
from test_verdicts import judged

PATH = "data/predictions.parquet"
EVALUATE = {"cmd": "cp answers.parquet data/predictions.parquet", "deps": ["answers.parquet"], "outs": [PATH]}


def answers(wrong: set[int], images: int = 40) -> pd.DataFrame:
    """Predictions on numbered images of class a."""
    return judged({f"{i:02d}.png": ("a", "b" if i in wrong else "a") for i in range(images)})


FIRST, SECOND, THIRD = set(range(10)), {0, 1, 30}, set(range(1, 11))
"""What is wrong in the first commit, in the second, and in the files that are not committed."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project below its repository's root whose only stage copies its answers: two results committed, a third not."""
    folder = tmp_path_factory.mktemp("compared") / "below" / "root"
    folder.mkdir(parents=True)
    project = Project(folder)
    shutil.copy(REPOSITORY / "params.yaml", folder)
    (folder / "data").mkdir()
    named = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["vars"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"vars": named, "stages": {"evaluate": EVALUATE}}))
    project.run("git", "init", "-q", "../..")
    project.run("git", "commit", "-qm", "nothing yet", "--allow-empty")
    project.run("dvc", "init", "-q", "--subdir")
    project.commit()
    (folder / ".gitignore").write_text(".dvc\nanswers.parquet\nmlruns\nmlflow.db*\n")
    for wrong in (FIRST, SECOND, THIRD):
        answers(wrong).to_parquet(folder / "answers.parquet", index=False)
        project.run("dvc", "repro", "-q")
        if wrong is not THIRD:
            project.commit()
    project.run("git", "tag", "second")
    return project


def enter(repository: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work there, with its own store: MLflow leaves in the environment what another test has set."""
    monkeypatch.chdir(repository.folder)
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def here(repository: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    enter(repository, monkeypatch)
    return repository


@pytest.fixture(scope="module")
def runs(repository: Project) -> dict[str, str]:
    """name -> id of runs: one whole, one unfinished, two of one name."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(repository, monkeypatch)
        client, experiment_id = server.connect("graft")
        found = {}
        for name in ("it's rate=0.1", "unfinished", "twice", "twice"):
            found[name] = client.create_run(experiment_id, run_name=name).info.run_id
        client.log_artifact(found["it's rate=0.1"], "answers.parquet", outcomes.ARTIFACT)
    return found


def compare(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["compare", *arguments], catch_exceptions=False)


def as_json(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(compare(*arguments, "--json").stdout)
    return found


@pytest.mark.slow
def test_alone_it_compares_the_last_commit_with_the_files(here: Project) -> None:
    done = compare()
    assert done.exit_code == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    head = here.run("git", "rev-parse", "HEAD").stdout[:7]
    assert lines[0] == "what model right of 40 test images accuracy"
    assert lines[1:3] == [f"A HEAD ({head}) head 37 0.9250", "B workspace head 30 0.7500"]
    assert lines[3].startswith("B less A: -0.1750 (-0.3")
    assert "Changed sides: 9 that only A has right, 2 that only B has right; p = 0.065 (McNemar, exact)" in lines
    assert "Verdict: within noise. These images cannot tell B from A: p is not below 0.05." in lines
    assert lines[-11:] == [f"{i:02d}.png a a b" for i in range(2, 11)] + ["00.png a b a", "30.png a b a"]


def test_revisions_are_read_from_dvcs_cache(here: Project) -> None:
    """Exact by hand: 8 gained and 1 lost, p = 2 (1 + 9) / 2^9."""
    found = as_json("HEAD~1", "second")
    assert found["verdict"] == words.Compared.BETTER
    assert found["p"] == pytest.approx(20 / 512)
    assert (found["only_a_right"], found["only_b_right"], found["images"]) == (1, 8, 40)
    assert found["difference"]["value"] == pytest.approx(7 / 40)
    assert found["changed_sides"][0] == {"path": "30.png", "label": "a", "a": "a", "b": "b"}
    assert as_json("second", "HEAD~1")["verdict"] == words.Compared.WORSE
    assert compare("HEAD~1", "second", "--json").stdout == compare("HEAD~1", "second", "--json").stdout


def test_experiments_of_one_name_are_told_by_where_they_started(here: Project) -> None:
    """DVC keeps one of a name for each commit that experiments started from."""
    head, older = (here.run("git", "rev-parse", name).stdout.strip() for name in ("HEAD", "HEAD~1"))
    for baseline, commit in ((head, older), (older, head)):
        here.run("git", "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/twin", commit)
    assert git.revision(here.folder, "twin") == older
    here.run("git", "update-ref", "-d", f"refs/exps/{head[:2]}/{head[2:]}/twin")
    assert git.revision(here.folder, "twin") == head
    assert git.revision(here.folder, "nosuch") is None


def test_twenty_images_unless_all_are_asked_for(here: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {"all": answers(set()), "none": answers(set(range(40)))}
    monkeypatch.setattr(outcomes, "resolve", lambda name, _: outcomes.Outcome(name, tables[name]))
    assert compare("all", "none").stdout.splitlines()[-2:] == [
        " 19.png  a      a       b      ",
        "... and 20 more (--images: all)",
    ]
    assert compare("all", "none", "--images").stdout.splitlines()[-1].startswith(" 39.png")


def test_the_same_predictions_say_so(here: Project) -> None:
    assert "Verdict: within noise. Both predict the same for every image." in compare("HEAD", "second").stdout


def test_a_split_that_nobody_was_judged_on_is_not_comparable(here: Project) -> None:
    done = compare("--split", "validation")
    assert done.exit_code == words.EXIT_CODE_NOT_COMPARABLE
    assert "not comparable. They have no validation image in common, of the same path and label." in done.stdout
    found = as_json("--split", "validation")
    assert (found["verdict"], found["images"]) == ("not comparable", 0)


def test_runs_are_known_by_name_and_id(here: Project, runs: dict[str, str]) -> None:
    name = "it's rate=0.1"
    for called in (name, runs[name]):
        found = outcomes.resolve(called, "graft")
        assert found.name == f"{name} ({runs[name][:7]})"
        pd.testing.assert_frame_equal(found.predictions, answers(THIRD))


def test_a_name_that_says_nothing_or_too_much_is_one_error(here: Project, runs: dict[str, str]) -> None:
    with pytest.raises(TrackingError, match=r"^'nosuch': must be `workspace`, a git revision, .* There is none\.$"):
        outcomes.resolve("nosuch", "graft")
    with pytest.raises(TrackingError, match=r"^'twice': must be one run in MLflow\. 2 are called so; give an id: \w"):
        outcomes.resolve("twice", "graft")
    with pytest.raises(
        StaleError, match=r"^MLflow run unfinished \(\w+\): must hold one table in predictions/\. Got 0"
    ):
        outcomes.resolve("unfinished", "graft")


def test_looking_a_name_up_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(TrackingError, match=r"MLflow has no store here\.$"):
        outcomes.resolve("nosuch", "graft")
    assert list(tmp_path.iterdir()) == []


def test_predictions_that_are_gone_say_how_to_get_them(here: Project) -> None:
    with pytest.raises(StaleError, match=r"^HEAD~3 \(\w{7}\): must have a dvc\.yaml that names `predictions`"):
        outcomes.resolve("HEAD~3", "graft")
    with pytest.raises(StaleError, match=rf"^HEAD~2 \(\w{{7}}\): must hold a result\. Its dvc\.lock has no {PATH}\."):
        outcomes.resolve("HEAD~2", "graft")
    cache, aside = here.folder / ".dvc" / "cache", here.folder / ".dvc" / "aside"
    cache.rename(aside)
    try:
        with pytest.raises(StaleError, match=rf"^HEAD~1 \(\w{{7}}\): {PATH} must be in DVC's cache or in a remote"):
            outcomes.resolve("HEAD~1", "graft")
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        aside.rename(cache)


def test_files_that_are_not_the_locks_are_noted(here: Project, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes.resolve("workspace", "graft")
    assert capsys.readouterr().err == ""
    here.run("git", "stash", "-q", "--", "dvc.lock")
    try:
        outcomes.resolve("workspace", "graft")
    finally:
        here.run("git", "stash", "pop", "-q")
    assert (
        f"the files here are not those of params.yaml and dvc.lock, which differ in {PATH}." in capsys.readouterr().err
    )
