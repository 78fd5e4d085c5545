"""`graft predict`: every file has its line, labels and probabilities are those of `evaluate`."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from conftest import CLASSES, Pass, drawing, encoded, whole_pass
from graft.cli import app
from graft.cli.predict import FORMATS
from graft.errors import GraftError, StaleError, TrackingError
from graft.features import store
from graft.prediction import engine, files, images, stream, writers
from graft.prediction.files import Named
from graft.serving.classifier import CARD, MODEL, Classifier
from graft.tracking.model import folder_of

IMAGES = images.kind()


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Pass:
    """A frozen network of few layers with a trained head: what it was trained on is float32, as what is predicted."""
    network = {"backbone.name": "MobileNet", "backbone.alpha": 0.25, "backbone.weights": "random"}
    changes = network | {"finetune.enabled": False, "finetune.cut": "auto", "extract.views": 0}
    return whole_pass(tmp_path_factory.mktemp("passed"), changes, 12)


@pytest.fixture(scope="module")
def model(passed: Pass) -> Classifier:
    return Classifier.read(passed.paths.model.parent)


@pytest.fixture(scope="module")
def forward(model: Classifier) -> Any:
    return engine.forward(model)


def predicted(names: list[str], model: Classifier, forward: Any, stdin: bytes = b"") -> list[stream.Seen]:
    return list(stream.seen(files.found(names, IMAGES, io.BytesIO(stdin)), model, forward))


def command(*arguments: str, model: Path, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(app, ["predict", "--model", str(model), *arguments], input=stdin)


def test_labels_and_probabilities_are_those_of_evaluate(passed: Pass, model: Classifier, forward: Any) -> None:
    judged = pd.read_parquet(passed.paths.predictions)
    root = Path(passed.params.data.path)
    found = predicted([str(root / path) for path in judged["path"]], model, forward)
    columns = [f"p:{name}" for name in model.classes]
    np.testing.assert_allclose([one.values for one in found], judged[columns], atol=1e-5)
    assert [model.classes[int(np.argmax(one.values))] for one in found] == list(judged["prediction"])
    assert len(found) > 6


def test_one_by_one_in_python_is_the_same(passed: Pass, model: Classifier, forward: Any) -> None:
    paths = sorted(Path(passed.params.data.path).rglob("*.png"))[:5]
    found = predicted([str(path) for path in paths], model, forward)
    np.testing.assert_allclose([one.values for one in found], model.probabilities(paths), atol=1e-5)


def odd_folder(folder: Path) -> dict[str, str]:
    """Two images and what is none; path -> what its problem begins with."""
    good = encoded(drawing("circle", 1), "JPEG")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a b.jpg").write_bytes(good)
    (folder / "deep" / "er" / "without-suffix").write_bytes(encoded(drawing("cross", 1)))
    (folder / "new\nline.png").write_bytes(encoded(drawing("cross", 2)))
    problems = {
        "cut.png": "truncated",
        "empty.png": "empty file",
        "notes.txt": "not an image",
        "video.jpg": "not an image",
        "bomb.bmp": "too large",
        "broken-link.png": "broken link",
        "link-to-folder": "link to a directory",
        "pipe.png": "not a regular file",
        ".hidden.png": "hidden file",
        "locked": "hidden directory",
    }
    problems[".locked"] = problems.pop("locked")
    (folder / "cut.png").write_bytes(encoded(drawing("circle", 3))[:300])
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("not an image at all, but a few words about the images that lie beside it")
    (folder / "video.jpg").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(1000))
    wide = bytearray(encoded(drawing("circle", 3), "BMP"))
    wide[18:26] = (60_000).to_bytes(4, "little") * 2
    (folder / "bomb.bmp").write_bytes(wide)
    (folder / "broken-link.png").symlink_to(folder / "nowhere.png")
    (folder / "link-to-folder").symlink_to(folder / "deep")
    os.mkfifo(folder / "pipe.png")
    (folder / ".hidden.png").write_bytes(good)
    (folder / ".locked").mkdir()
    return problems


def test_no_file_is_lost(tmp_path: Path, model: Classifier, forward: Any) -> None:
    folder = tmp_path / "photos"
    problems = odd_folder(folder)
    names = [str(folder), str(folder / "a b.jpg"), str(folder / "nowhere"), str(folder / "pipe.png")]
    found = predicted(names, model, forward)
    assert len(found) == files.count(names, IMAGES) == len(problems) + 3 + 3
    by_path = {one.path: one for one in found[:-3]}
    for name, problem in problems.items():
        one = by_path.pop(str(folder / name))
        assert one.values is None
        assert one.problem.startswith(problem), (name, one.problem)
        assert one.meant == (not name.startswith("."))
    unusable_name = repr("new\nline.png")
    assert sorted(by_path) == sorted(
        [str(folder / "a b.jpg"), str(folder / "deep/er/without-suffix"), f"{folder}/{unusable_name}"]
    )
    unusable = by_path.pop(f"{folder}/{unusable_name}")
    assert unusable.problem.startswith("unusable name")
    assert all(one.values is not None for one in by_path.values())
    again, nowhere, pipe = found[-3:]
    assert np.array_equal(again.values, by_path[str(folder / "a b.jpg")].values)
    assert nowhere.problem == "cannot be read: No such file or directory"
    assert pipe.problem.startswith("not a regular file")


def test_an_archive_says_what_its_folder_says(tmp_path: Path, passed: Pass, model: Classifier, forward: Any) -> None:
    root = Path(passed.params.data.path)
    of_folder = predicted([str(root)], model, forward)
    with (
        zipfile.ZipFile(tmp_path / "images.zip", "w") as packed,
        tarfile.open(tmp_path / "images.tar.gz", "w:gz") as tar,
    ):
        for path in sorted(root.rglob("*.png")):
            packed.write(path, path.relative_to(root))
            tar.add(path, path.relative_to(root))
    for name in ("images.zip", "images.tar.gz"):
        archive = str(tmp_path / name)
        inside = predicted([archive], model, forward)
        assert files.count([archive], IMAGES) == len(inside)
        assert [one.path.removeprefix(archive) for one in inside] == [
            one.path.removeprefix(str(root)) for one in of_folder
        ]
        for a, b in zip(inside, of_folder, strict=True):
            np.testing.assert_array_equal(a.values, b.values)
    (tmp_path / "damaged.zip").write_bytes((tmp_path / "images.zip").read_bytes()[:-100])
    (one,) = predicted([str(tmp_path / "damaged.zip")], model, forward)
    assert "must be a directory or a whole archive" in one.problem
    assert not one.problem.startswith("data.path")


@pytest.mark.parametrize(("end", "last"), [("\n", ""), ("\r\n", "\r\n"), ("\0", "\0")])
def test_paths_on_standard_input(end: str, last: str, passed: Pass, model: Classifier, forward: Any) -> None:
    paths = [str(path) for path in sorted(Path(passed.params.data.path).rglob("*.png"))[:4]]
    found = predicted(["-"], model, forward, f"{end.join(paths)}{last}".encode())
    assert [one.path for one in found] == paths
    assert files.count(["-"], IMAGES) is None


def test_an_image_on_standard_input(model: Classifier, forward: Any) -> None:
    data = encoded(drawing("circle", 5), "JPEG")
    (one,) = predicted(["-"], model, forward, data)
    np.testing.assert_allclose(one.values, model.probabilities(data)[0], atol=1e-5)


def test_files_are_read_when_their_turn_comes(model: Classifier, forward: Any) -> None:
    """However many there are, few of them are in memory."""
    data, read, most = encoded(drawing("circle", 5)), [], 0
    lock = threading.Lock()

    def one() -> bytes:
        with lock:
            read.append(1)
        return data

    def endless() -> Iterator[Named]:
        while True:
            yield Named("x.png", one)

    answers = stream.seen(endless(), model, forward)
    for taken in range(1, 200):
        next(answers)
        most = max(most, len(read) - taken)
    answers.close()
    assert most <= forward.batch_size * 2 * (stream.available() + stream.WAITING)


def test_features_are_what_the_head_reads(passed: Pass, model: Classifier) -> None:
    network = engine.reader(model)
    features = store.load(passed.paths.features, list(pd.read_csv(passed.paths.catalogue)["sha256"]))
    assert features is not None
    catalogue = pd.read_csv(passed.paths.catalogue)
    paths = [str(Path(passed.params.data.path) / path) for path in catalogue["path"][:6]]
    found = predicted(paths, model, engine.forward(model, network))
    np.testing.assert_allclose([one.values for one in found], features.plain(np.arange(6)), rtol=1e-4, atol=1e-4)


SEEN = [
    stream.Seen("a,b.jpg", np.array([0.25, 0.5, 0.25], np.float32)),
    stream.Seen('ü".png', None, "truncated: no end marker"),
]


def written(name: str, columns: writers.Columns, rows: list[stream.Seen] | None = None) -> bytes:
    out = io.BytesIO()
    with writers.WRITERS[name](out, columns) as writer:
        for one in SEEN if rows is None else rows:
            writer.write(one)
    return out.getvalue()


COLUMNS = writers.Columns(CLASSES, 2)


def test_table() -> None:
    assert written("table", COLUMNS).decode() == (
        '0.5000  cross    a,b.jpg  (circle 0.250)\n     -           ü".png: truncated: no end marker\n'
    )


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv", COLUMNS).decode())))
    assert rows[0] == {
        "path": "a,b.jpg", "problem": "", "label": "cross", "probability": "0.5000000",
        "label_2": "circle", "probability_2": "0.2500000",
    }  # fmt: skip
    assert rows[1] == dict.fromkeys(rows[0], "") | {"path": 'ü".png', "problem": "truncated: no end marker"}
    of_features = written("csv", writers.Columns([], n_features=3)).decode().splitlines()
    assert of_features[:2] == ["path,problem,feature_0,feature_1,feature_2", '"a,b.jpg",,0.25,0.5,0.25']


def test_json_lines() -> None:
    first, second = map(json.loads, written("jsonl", COLUMNS).decode().splitlines())
    assert first == {
        "path": "a,b.jpg", "label": "cross", "probability": 0.5,
        "top_labels": ["cross", "circle"], "top_probabilities": [0.5, 0.25],
    }  # fmt: skip
    assert second == {"path": 'ü".png', "problem": "truncated: no end marker"}
    assert json.loads(written("jsonl", writers.Columns([], n_features=3)).splitlines()[0])["features"] == [
        0.25,
        0.5,
        0.25,
    ]


def test_parquet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "ROWS", 2)
    table = pd.read_parquet(io.BytesIO(written("parquet", COLUMNS, [*SEEN, SEEN[0]])))
    assert list(table["label"].fillna("")) == ["cross", "", "cross"]
    assert list(table["top_labels"][0]) == ["cross", "circle"]
    assert list(table["top_probabilities"][2]) == [0.5, 0.25]
    assert table["problem"].isna().tolist() == [True, False, True]
    features = pd.read_parquet(io.BytesIO(written("parquet", writers.Columns([], n_features=3))))
    assert list(features["features"][0]) == [0.25, 0.5, 0.25]


def test_the_command_names_every_format() -> None:
    assert tuple(writers.WRITERS) == FORMATS


@pytest.mark.parametrize("name", writers.WRITERS)
def test_no_file_is_a_whole_file_too(name: str) -> None:
    out = written(name, COLUMNS, [])
    assert {"table": b"", "jsonl": b""}.get(name, out) == out
    if name == "parquet":
        assert len(pd.read_parquet(io.BytesIO(out))) == 0


def test_the_command(tmp_path: Path, passed: Pass) -> None:
    folder = passed.paths.model.parent
    good = sorted(Path(passed.params.data.path).rglob("*.png"))[:3]
    done = command(*map(str, good), "--out", str(tmp_path / "p.csv"), model=folder)
    assert done.exit_code == 0, done.output
    assert list(pd.read_csv(tmp_path / "p.csv")["path"]) == [str(path) for path in good]
    (tmp_path / "no.png").write_text("x")
    done = command(str(good[0]), str(tmp_path / "no.png"), model=folder)
    assert done.exit_code == 3
    assert re.search(r"^     - .*no\.png: not an image", done.stdout, re.MULTILINE)
    assert "1 of the files is no image that can be read: each line says why" in done.stderr
    done = command("-", "--format", "jsonl", "--features", model=folder, stdin=f"{good[0]}\n".encode())
    assert done.exit_code == 0
    assert len(json.loads(done.stdout)["features"]) == 256
    assert {path.name for path in tmp_path.iterdir()} == {"p.csv", "no.png"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "xlsx"), r"--format: must be one of table, csv, jsonl, parquet\. Got 'xlsx'"),
        (("--out", "p.txt"), r"--out p\.txt: must be one of"),
        (("--features",), "--features: must be written as csv, jsonl or parquet"),
        (("--out", "nowhere/p.csv"), "--out: must lie in a folder that exists"),
        (("--run", "x"), "--model and --run: one of them"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments: tuple[str, ...], message: str, passed: Pass) -> None:
    done = command("a.png", *arguments, model=passed.paths.model)
    assert isinstance(done.exception, GraftError)
    assert re.match(message, str(done.exception))


def test_a_file_beside_the_model_is_never_taken_for_it(tmp_path: Path) -> None:
    """models/head.keras lies beside the model that ships. A folder's name may have a point."""
    folder = tmp_path / "colours.v2"
    folder.mkdir()
    for name in (MODEL, CARD, "head.keras"):
        (folder / name).touch()
    for meant in (folder, folder / MODEL, folder / CARD):
        assert folder_of(meant) == folder
    for name in ("head.keras", "modell.keras"):
        with pytest.raises(StaleError, match=rf"{name}: must be called model\.keras, with its card\.json beside it"):
            folder_of(folder / name)
    with pytest.raises(StaleError, match=r"nowhere: must hold model\.keras and card\.json"):
        folder_of(tmp_path / "nowhere")


def test_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = CliRunner().invoke(app, ["predict", "a.png"])
    assert "must hold model.keras and card.json" in str(done.exception)
    done = CliRunner().invoke(app, ["predict", "a.png", "--run", "nothing"])
    assert isinstance(done.exception, TrackingError)
    assert "there is no store yet" in str(done.exception)
    assert list(tmp_path.iterdir()) == []
