"""Decisions on labels: applied by `prepare` to the images they were made for, told, and no reason to compute anew."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from conftest import (
    REPOSITORY,
    PreparedData,
    Project,
    drawing,
    encoded,
    make_project,
    params_of,
    paths_in,
    tiny_params,
    write_drawings,
)
from graft.config.load import load
from graft.errors import DataError, ParamsError
from graft.examples import relabel

Prepare = Callable[..., PreparedData]

PATHS = ("circle/000.png", "circle/001.png", "cross/002.png", "stripes/003.png")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four drawings of each class, in a project's folder, which is the working one."""
    monkeypatch.chdir(tmp_path)
    write_drawings(tmp_path / "images", 4)
    return tmp_path / "images"


def write(rows: list[dict[str, str]], name: str = "a.csv", delimiter: str = ",") -> None:
    file = relabel.FOLDER / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8-sig") as out:
        table = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)


def decided(*decisions: str) -> list[dict[str, str]]:
    return [{"path": path, "decision": what} for path, what in zip(PATHS, decisions, strict=False)]


def labels(prepared: PreparedData) -> dict[str, str]:
    used = prepared.catalogue[prepared.catalogue["state"] == "used"]
    return dict(zip(used["path"], used["label"], strict=True))


def test_decisions_change_remove_and_keep(root: Path, prepare: Prepare) -> None:
    """As a spreadsheet saves them: a byte order mark, semicolons, columns that graft does not know."""
    before = labels(prepare(root))
    rows = [one | {"remark": "seen"} for one in decided(" cross", "remove", "keep", "")]
    write(rows, delimiter=";")
    prepared = prepare(root, {"relabel": "a.csv"})
    assert labels(prepared) == {p: n for p, n in (before | {PATHS[0]: "cross"}).items() if p != PATHS[1]}
    assert len(prepared.catalogue) == len(before)
    states = prepared.catalogue.set_index("path")[["state", "reason", "detail"]]
    assert tuple(states.loc[PATHS[1]]) == ("left out", "removed by data.relabel", "")
    assert tuple(states.loc[PATHS[0]]) == ("used", "relabelled", "circle in the source")
    assert list(prepared.quarantine["path"]) == [PATHS[0]]
    counts = {"changed": 1, "removed": 1, "kept": 1, "without_effect": 0, "undecided": 1}
    assert prepared.metrics["relabelled"] == counts
    assert PATHS[1] not in prepared.sides
    told = "1 labels changed: circle to cross (1); 1 images removed; 1 labels kept; 1 rows undecided"
    assert f"note: data/relabel/a.csv: {told}" in prepared.said
    assert "1 files left out: removed by data.relabel (1)" in prepared.said


def test_nothing_is_said_where_no_table_is_named(root: Path, prepare: Prepare) -> None:
    prepared = prepare(root)
    assert "relabelled" not in prepared.metrics
    assert "relabel" not in prepared.said


def test_a_decision_settles_copies_of_two_labels(root: Path, prepare: Prepare) -> None:
    shutil.copy(root / "circle" / "000.png", root / "cross" / "copy.png")
    assert set(prepare(root).aside) == {"circle/000.png", "cross/copy.png"}
    write([{"path": "cross/copy.png", "decision": "circle"}])
    prepared = prepare(root, {"relabel": "a.csv"})
    assert prepared.aside == {}
    assert prepared.sides["cross/copy.png"] == prepared.sides["circle/000.png"]


def test_a_defect_stays_one(root: Path, prepare: Prepare) -> None:
    (root / "circle" / "000.png").write_bytes(b"")
    write(decided("cross"))
    prepared = prepare(root, {"relabel": "a.csv"})
    assert prepared.aside[PATHS[0]][0] == "empty file"
    assert prepared.metrics["relabelled"]["changed"] == 1


def test_a_label_that_is_left_out_stays_so(root: Path, prepare: Prepare) -> None:
    write(decided("cross"))
    prepared = prepare(root, {"relabel": "a.csv", "classes": {"cross": "cross", "stripes": "stripes"}})
    assert prepared.metrics["relabelled"]["without_effect"] == 1
    assert "1 decided on that take no part anyway" in prepared.said


def test_a_decision_is_for_the_picture_that_was_looked_at(root: Path, prepare: Prepare) -> None:
    sha256 = hashlib.sha256((root / PATHS[0]).read_bytes()).hexdigest()
    write([one | {"sha256": sha256} for one in decided("cross")])
    assert labels(prepare(root, {"relabel": "a.csv"}))[PATHS[0]] == "cross"
    (root / PATHS[0]).write_bytes(encoded(drawing("circle", 77)))
    with pytest.raises(DataError, match=rf"a.csv, line 2 was decided on another picture at {PATHS[0]}: .*Look at it"):
        prepare(root, {"relabel": "a.csv"})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"path": "circle/999.png", "decision": "cross"}], r"a.csv, line 2: a path must be .*Unknown: circle/999.png"),
        (
            decided("cros"),
            r"line 2: .*a class must be one of circle, cross, stripes\. Got 'cros'\. Did you mean 'cross'",
        ),
        (decided("Cross"), r"Got 'Cross'\. Did you mean 'cross'"),
        (decided("cross") + decided("remove"), r"'cross' in data/relabel/a.csv, line 2, and 'remove' in .*, line 3"),
        ([{"path": PATHS[0], "label": "cross"}], r"must have the columns path and decision\. It lacks decision"),
    ],
)
def test_what_cannot_be_meant(root: Path, prepare: Prepare, rows: list[dict[str, str]], message: str) -> None:
    write(rows)
    with pytest.raises(DataError, match=message) as caught:
        prepare(root, {"relabel": "a.csv"})
    assert str(caught.value).startswith("data.relabel: ")


def test_a_table_that_is_not_there(root: Path, prepare: Prepare) -> None:
    write(decided("cross"))
    with pytest.raises(DataError, match=r"There is no data/relabel/b.csv; there: a.csv\. Put it there, or let"):
        prepare(root, {"relabel": "b.csv"})


def test_a_table_that_is_none(root: Path, prepare: Prepare) -> None:
    write(decided("cross"))
    (relabel.FOLDER / "a.csv").write_bytes("path,decision\ngrün,x\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"^data.relabel: data/relabel/a.csv must be UTF-8 text"):
        prepare(root, {"relabel": "a.csv"})


def test_a_class_that_is_called_as_a_decision(root: Path, prepare: Prepare) -> None:
    write_drawings(root / "keep", 2)
    write(decided("keep"))
    with pytest.raises(DataError, match=r"'keep' is a decision and the name of a class\. Rename the class"):
        prepare(root, {"relabel": "a.csv"})


@pytest.mark.parametrize("name", ["", "/tmp/a.csv", "../a.csv", "./a.csv"])
def test_a_table_lies_where_dvc_sees_it(params_with: Callable[..., Path], name: str) -> None:
    with pytest.raises(ParamsError, match=r"data\.relabel: must be the name of a table in data/relabel"):
        load(params_with({"data.relabel": name}))


def test_the_folder_is_what_dvc_watches() -> None:
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    deps = {stage: entry.get("do", entry)["deps"] for stage, entry in stages.items()}
    assert [stage for stage, files in deps.items() if str(relabel.FOLDER) in files] == ["prepare"]
    assert (REPOSITORY / relabel.FOLDER / "README.md").is_file()
    assert str(relabel.FOLDER) in (REPOSITORY / "src/graft/config/data.py").read_text()


@pytest.mark.long
def test_no_image_goes_through_the_network_again(
    root: Path, prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    from graft.stages import extract

    shutil.rmtree(root)
    write_drawings(root, 2, first_seed=31_000)
    out = root.parent / "prepared"
    small = {"backbone.input_size": 32, "extract.views": 0, "data.source": "folder", "data.path": str(root)}

    def extracted(changes: dict[str, Any]) -> str:
        prepare(root, changes, out=out)
        extract.run(params_of(small), paths_in(out))
        return capsys.readouterr().err

    assert extracted({}).count("s of 6 images: 0 of 6 are in the cache") == 2, "features and activations"
    write(decided("cross", "remove"))
    assert extracted({"relabel": "a.csv"}).count("s of 5 images: 5 of 5 are in the cache") == 2


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Nothing but what `extract` needs has run."""
    tree = tiny_params()
    tree["extract"] |= {"views": 0}
    tree["finetune"] |= {"enabled": False}
    made = make_project(tmp_path_factory.mktemp("relabelled"), tree, per_class=6)
    done = made.run("dvc", "repro", "extract")
    assert "0 of 18 are in the cache" in done.stderr
    return made


@pytest.mark.slow
def test_a_changed_table_runs_prepare_again_and_the_network_not(project: Project) -> None:
    """By DVC itself: a new table, and one in which a row changed."""

    def repro(decision: str) -> str:
        rows: dict[str, Any] = {"circle/000.png": "cross", "circle/001.png": decision}
        text = "path,decision\n" + "".join(f"{path},{what}\n" for path, what in rows.items())
        (project.folder / "data/relabel/mine.csv").write_text(text)
        done = project.run("dvc", "repro", "extract")
        assert project.executed(done.stdout + done.stderr) == ["prepare", "extract"]
        return done.stderr

    project.change(data={"relabel": "mine.csv"})
    said = repro("keep")
    assert "1 labels changed: circle to cross (1); 0 images removed; 1 labels kept" in said
    assert "features of 18 images: 18 of 18 are in the cache" in said
    said = repro("remove")
    assert "features of 17 images: 17 of 17 are in the cache" in said
    counts = json.loads((project.folder / "data/prepared/counts.json").read_text())["relabelled"]
    assert (counts["changed"], counts["removed"]) == (1, 1)


@pytest.mark.slow
def test_what_the_audit_lists_is_what_a_decision_changes(project: Project) -> None:
    """The way that docs/audit.md shows, by the commands: list, decide, run, list again."""
    project.change(data={"relabel": None})
    project.run("dvc", "repro", "extract")
    done = project.run("graft", "audit", "--most", "5", GRAFT_THREADS="2")
    assert "data/audit/audit.html, data/audit/audit.csv; MLflow run " in done.stdout
    run = project.runs()[0]
    assert run.data.tags["graft.kind"] == "audit"
    assert run.data.metrics["images"] == 18
    assert {one.path for one in project.client().list_artifacts(run.info.run_id, "audit")} == {
        "audit/audit.html",
        "audit/audit.csv",
    }
    rows = pd.read_csv(project.folder / "data/audit/audit.csv", dtype=str, keep_default_na=False)
    path, label = rows.loc[0, ["path", "label"]]
    rows.loc[0, "decision"] = "cross" if label != "cross" else "circle"
    rows.to_csv(project.folder / "data/relabel/audit.csv", index=False)
    project.change(data={"relabel": "audit.csv"})
    refused = project.run("graft", "audit", ok=False)
    assert "Different: params.yaml data (of prepare). Run `dvc repro`." in refused.stderr
    said = project.run("dvc", "repro", "extract").stderr
    assert f"1 labels changed: {label} to {rows.loc[0, 'decision']} (1)" in said
    assert "1 were decided before." in project.run("graft", "audit").stdout
    again = pd.read_csv(project.folder / "data/audit/audit.csv", dtype=str, keep_default_na=False)
    assert list(again.loc[again["decision"] != "", "path"]) == [path]
