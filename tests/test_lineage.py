"""`graft lineage` on a real store: from a model to its run and data, from an example to the models that saw it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from conftest import params_of
from graft import cli
from graft.errors import DataError, StaleError, TrackingError
from graft.lineage import near, seen
from graft.tracking import examples, identity, run, server
from logged_passes import Logged, entered, made


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    folder = tmp_path_factory.mktemp("lineage")
    with entered(folder):
        project = made(folder)
        yield project


def lineage(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["lineage", *arguments], catch_exceptions=False)


def told(*arguments: str) -> Any:
    return json.loads(lineage(*arguments, "--json").stdout)


def test_a_models_file_names_its_run_commit_data_and_split(logged: Logged) -> None:
    (found,) = told(str(logged.made.paths.model))
    assert found["run_id"] == logged.ids["real"]
    assert len(found["commit"]) == 40
    assert found["dirty"] is False
    assert found["changed"] == {}
    assert found["data_md5"] == "d41d8c.dir"
    assert found["split"] == {"train": 54, "validation": 18, "test": 18, "unused": 0}
    assert found["weights_sha256"] == json.loads(logged.made.paths.card.read_text())["weights_sha256"]
    assert found["versions"] == []
    said = " ".join(lineage(str(logged.made.paths.model)).stdout.split())
    assert f"reproduce graft reproduce {logged.ids['real']}" in said
    assert f"commit {found['commit']} params as committed" in said


def test_every_way_to_name_a_model_leads_to_its_run(logged: Logged, tmp_path: Path) -> None:
    run_id, card = logged.ids["real"], json.loads(logged.made.paths.card.read_text())
    client = mlflow.MlflowClient(server.uri())
    found = client.get_run(run_id)
    model = found.outputs.model_outputs[0].model_id
    saved_anew = tmp_path / "anew"
    saved_anew.mkdir()
    shutil.copy(logged.made.paths.card, saved_anew / "card.json")
    (saved_anew / "model.keras").write_bytes(logged.made.paths.model.read_bytes() + b"other bytes, same weights")
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "card.json").write_text(json.dumps(card | {"export": {"format": "tflite"}}))
    (exported / "model.tflite").write_bytes(b"no Keras at all")
    for name in (
        run_id, run_id[:7], found.info.run_name, f"runs:/{run_id}/model", f"models:/{model}", card["weights_sha256"],
        card["weights_sha256"][:8], str(saved_anew), str(saved_anew / "model.keras"), str(exported / "model.tflite"),
    ):  # fmt: skip
        assert [one["run_id"] for one in told(name)] == [run_id], name


def test_the_training_examples_are_recovered_from_the_run_alone(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the split says, each with the sha256 of its file; the prepared files are not read."""
    sides = pd.read_csv(logged.made.paths.split, dtype=str).set_index("path")["split"]
    expected = [
        [path, hashlib.sha256((logged.folder / "images" / path).read_bytes()).hexdigest(), path.split("/")[0]]
        for path in sides.index[sides == "train"]
    ]
    for file in (logged.made.paths.split, logged.made.paths.catalogue):
        file.rename(file.with_suffix(".away"))
    try:
        rows = list(csv.reader(io.StringIO(lineage(logged.ids["real"], "--images").stdout)))
    finally:
        for file in (logged.made.paths.split, logged.made.paths.catalogue):
            file.with_suffix(".away").rename(file)
    assert rows[0] == ["path", "sha256", "label"]
    assert rows[1:] == expected
    assert len(expected) == 54


def test_an_image_is_found_by_its_content_not_its_name(logged: Logged, tmp_path: Path) -> None:
    sides = pd.read_csv(logged.made.paths.split, dtype=str).set_index("path")["split"]
    for side in ("train", "test"):
        path = sides.index[sides == side][0]
        renamed = tmp_path / f"{side}.jpg"
        shutil.copy(logged.folder / "images" / path, renamed)
        rows = [one for one in told(str(renamed))["seen"] if one["copy"] == seen.IDENTICAL]
        assert [(one["run_id"], one["path"], one["split"], one["label"]) for one in rows] == [
            (logged.ids["real"], path, side, path.split("/")[0])
        ]


def test_an_image_saved_anew_is_a_near_copy(logged: Logged, tmp_path: Path) -> None:
    path = logged.folder / "images" / "stripes" / "003.png"
    Image.open(path).save(tmp_path / "anew.bmp")
    found = told(str(tmp_path / "anew.bmp"))
    assert {(one["path"], one["copy"]) for one in found["seen"]} >= {("stripes/003.png", seen.NEAR)}
    assert {one["copy"] for one in found["seen"]} == {seen.NEAR}
    assert found["looked"] == []


def test_what_no_model_has_seen_is_said(logged: Logged, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no image")
    done = lineage(str(tmp_path / "note.txt"))
    assert done.exit_code == 0
    assert "no run in MLflow has seen it, nor a near copy." in done.stdout
    assert "no near copies were looked for, since the file is no usable example: not an image" in done.stderr


def test_a_text_is_the_row_of_a_table_without_the_line_end_of_its_file() -> None:
    row = b"It came. Thank you!"
    assert hashlib.sha256(row).hexdigest() in seen.digests(row + b"\r\n")
    assert hashlib.sha256(row + b"\n").hexdigest() in seen.digests(row + b"\n")
    assert seen.digests(row) == {hashlib.sha256(row).hexdigest()}


def test_near_copies_of_a_text(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    long = "The parcel that I ordered last week has not come yet, and nobody answers the telephone."
    for name, text in (("late/a.txt", long), ("late/b.txt", "Where is it?"), ("thanks/c.txt", "It came. Thank you!")):
        (texts / name).parent.mkdir(parents=True, exist_ok=True)
        (texts / name).write_text(text)
    data = params_of({"data.kind": "text", "data.source": "folder", "data.path": str(texts)}).data
    known = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(texts.rglob("*.txt"))]
    found = near.copies(long.replace("telephone.", "telephone!").encode(), known, data)
    assert (list(found.sha256s), found.compared) == (known[:1], 3)
    assert list(near.copies(b"Something else altogether is written here.", known, data).sha256s) == []


def test_identical_beats_near() -> None:
    table = pd.DataFrame(
        [["1", "aa", "cat", "test"], ["2", "bb", "cat", "train"], ["3", "cc", "dog", "unused"]],
        columns=list(examples.COLUMNS),
    )
    found = seen.among(table, {"bb"}, {"aa", "bb"})
    assert [(one.path, one.split, one.copy) for one in found] == [("2", "train", "identical"), ("1", "test", "near")]


def test_a_run_of_an_earlier_graft_is_told_of_and_mended_by_log(logged: Logged, tmp_path: Path) -> None:
    run_id = logged.ids["real"]
    client = mlflow.MlflowClient(server.uri())
    (logged.folder / "mlruns" / run_id / "artifacts" / examples.ARTEFACT).unlink()
    for tag in (examples.DIGEST, identity.WEIGHTS, identity.DATA):
        client.delete_tag(run_id, tag)
    image = str(logged.folder / "images" / "cross" / "000.png")
    found = told(image)
    assert found["seen"] == []
    assert found["looked"][1].startswith("1 runs hold no list of their examples")
    with pytest.raises(StaleError, match=r"must hold data/examples.parquet, the list of its examples. It has none"):
        lineage(run_id, "--images")
    assert run.complete(logged.made.params, logged.made.paths, None).run_id == run_id
    assert [one["run_id"] for one in told(image)["seen"] if one["copy"] == "identical"] == [run_id]


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("nothing of the kind", TrackingError, "must be a model's file or folder, an address in MLflow"),
        ("images", StaleError, "images: must be a model with card.json beside it. There is none."),
        ("models:/none/3", TrackingError, "models:/none/3: must be a model in MLflow's store whose run is there"),
        ("runs:/0123/model", TrackingError, "runs:/0123/model: must be a model in MLflow's store"),
        ("s3:/bucket", TrackingError, "It names no run"),
        ("deadbeefdead", TrackingError, "MLflow .* has nothing of this name"),
    ],
)
def test_what_names_no_model_is_one_sentence(logged: Logged, what: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        lineage(what)


def test_a_model_that_nobody_logged_and_examples_of_an_example(logged: Logged, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps({"weights_sha256": "f" * 64}))
    (tmp_path / "model.keras").write_bytes(b"somebody's")
    with pytest.raises(TrackingError, match=r"None has these bytes or these weights. `graft log` logs the pass"):
        lineage(str(tmp_path))
    with pytest.raises(DataError, match="--images: lists what a model was trained on"):
        lineage(str(logged.folder / "images" / "cross" / "000.png"), "--images")


def test_without_a_store(tmp_path: Path, logged: Logged) -> None:
    shutil.copy(logged.folder / "params.yaml", tmp_path)
    with entered(tmp_path), pytest.raises(TrackingError, match=r"must hold runs to be asked. There is no store yet."):
        lineage("anything")
    assert [file.name for file in tmp_path.iterdir()] == ["params.yaml"]
