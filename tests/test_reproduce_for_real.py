"""`graft reproduce` of a real pass by a colleague who may not see the photos, from what the team's remote has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import Project, changed, make_project, tiny_params


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clone after a pass that is committed and pushed; its photos are in no remote, and gone."""
    folder = tmp_path_factory.mktemp("real")
    small = {"extract.views": 1, "train.epochs": 1, "finetune.epochs": 1} | dict.fromkeys(
        ("train.batch_size", "finetune.batch_size"), 12
    )
    project = make_project(folder / "project", changed(tiny_params(), small))
    project.environment["GRAFT_CACHE_DIR"] = str(folder / "cache")
    with (project.folder / ".gitignore").open("a") as file:
        file.write("/data/drawings/\n")
    project.run("git", "rm", "-rq", "--cached", "data/drawings")
    project.dvc(f"remote add -d team {folder / 'remote'}")
    project.commit()
    project.dvc("repro -q", "push -q")
    project.change(train={"epochs": 2})  # what the project asks for by now
    (project.folder / "data" / "drawings").rename(folder / "drawings")
    shutil.rmtree(project.folder / ".dvc" / "cache")
    return project


@pytest.mark.slow
def test_a_run_is_reproduced_without_its_photos(project: Project) -> None:
    """From the run in MLflow, as graft records it: environment, dvc.lock, metrics, model."""
    (logged,) = project.runs()
    model = Path(project.folder / "models" / "model.keras")
    done = project.run("graft", "reproduce", logged.info.run_id, "--json")
    told = json.loads(done.stdout)
    assert [one["verdict"] for one in told["stages"]] == ["not comparable"] * 2 + ["bit-identical"] * 3
    assert (told["verdict"], told["environment"]) == ("bit-identical", [])
    assert "prepare and extract: not judged (the examples are not at data/drawings)" in done.stderr
    assert logged.data.tags["graft.model"] in (project.folder / "dvc.lock").read_text()
    assert model.is_file(), "the project's own files stay"
    assert len(project.runs()) == 1, "its own store, too"


@pytest.mark.slow
def test_with_its_photos_what_was_done_to_them_is_seen(project: Project) -> None:
    """They are linked to where they are today: one of them has been replaced by another drawing since."""
    there = project.folder.parent / "drawings"
    shutil.copy(there / "circle" / "000.png", there / "circle" / "001.png")
    (project.folder / "data" / "drawings").symlink_to(there)
    (logged,) = project.runs()
    done = project.run("graft", "reproduce", logged.info.run_id, "--json", ok=False)
    told = json.loads(done.stdout)
    assert (told["first_diverging"], done.returncode) == ("prepare", 1), done.stderr
    assert told["stages"][0]["differs"] == ["data data/drawings (circle/001.png)"]
    assert told["stages"][1]["verdict"] == "different"
    assert told["stages"][4]["seconds"] is not None
