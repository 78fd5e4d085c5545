"""Labels audited: planted mistakes are found, copies vouch for nobody, page and CSV hold what was found."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from conftest import CLASSES, PreparedData, drawing, encoded, paths_in, write_drawings
from graft import cli
from graft.audit import belief, findings, neighbours, run, subject
from graft.cli import audit as command
from graft.errors import DataError, StaleError
from graft.examples import relabel
from graft.features import store

Prepare = Callable[..., PreparedData]
WRONG = ("circle/900.png", "cross/901.png")
"""A drawing of stripes among the circles, and a circle among the crosses."""
HOSTILE = '<img src=x onerror=alert(1)> & "quoted"'


def blobs(n: int = 90, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 8) around a centre for each class, all of them positive, and targets."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % n_classes
    return np.abs(3.0 * np.eye(n_classes, 8)[targets] + rng.normal(0, 0.5, (n, 8))), targets


def alone(n: int) -> np.ndarray:
    return np.arange(n)


# belief


@pytest.mark.parametrize("entries", [1, 200, 2**24])
def test_neighbours_are_the_nearest_that_are_no_copies(monkeypatch: pytest.MonkeyPatch, entries: int) -> None:
    features, _ = blobs(40)
    copies = alone(40)
    copies[[3, 5, 9]] = -7
    monkeypatch.setattr(neighbours, "ENTRIES", entries)
    found = neighbours.nearest(features, copies, 6)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = np.where(copies[:, None] == copies, -np.inf, unit @ unit.T)
    np.testing.assert_array_equal(found.rows, np.argsort(-cosines, axis=1)[:, :6])
    np.testing.assert_allclose(found.cosines, -np.sort(-cosines, axis=1)[:, :6], rtol=1e-5)


def test_few_images_have_few_neighbours() -> None:
    features, _ = blobs(5)
    assert neighbours.nearest(features, np.array([0, 1, 2, 3, 3]), 10).rows.shape == (5, 3)
    with pytest.raises(DataError, match=r"that are no copies of one another\. Got 5, all copies of one"):
        neighbours.nearest(features, np.zeros(5, np.int64), 10)


def test_planted_mistakes_are_the_first_suspects() -> None:
    features, targets = blobs()
    wrong = [4, 31, 77]
    labels = targets.copy()
    labels[wrong] = (targets[wrong] + 1) % 3
    formed = belief.form(features, labels, 3, alone(90))
    np.testing.assert_allclose(formed.probabilities.sum(axis=1), 1.0)
    found = findings.find(formed, labels)
    first = found.suspects.head(3)
    assert sorted(first["row"]) == wrong
    assert first["confident"].all()
    assert list(first["suggested"]) == list(targets[first["row"]])
    assert found.suspects["own"].is_monotonic_increasing
    taken = np.zeros((3, 3), int)
    np.add.at(taken, (labels[found.suspects["row"]], found.suspects["suggested"]), 1)
    for one in found.overlaps.itertuples():
        assert (one.a_as_b, one.b_as_a) == (taken[one.a, one.b], taken[one.b, one.a])
    assert found.overlaps[["a_as_b", "b_as_a"]].sum().sum() == len(found.suspects)
    assert found.agreement == pytest.approx(1 - len(found.suspects) / 90)


def test_copies_do_not_vouch_for_one_another() -> None:
    """Ten copies of one picture under a wrong label: only what others say counts."""
    features, targets = blobs()
    copied = np.tile(features[:1], (10, 1))
    features, labels = np.concatenate([features, copied]), np.concatenate([targets, np.ones(10, np.int64)])
    copies = alone(100)
    believed = belief.form(features, labels, 3, copies).own(labels)[90:]
    copies[90:] = 90
    judged = belief.form(features, labels, 3, copies)
    assert (judged.own(labels)[90:] < 0.2).all()
    assert (believed > 0.3).all(), "without knowing of the copies, they would be half believed"
    assert (judged.probabilities[90:].argmax(axis=1) == 0).all()


def test_an_image_alone_of_its_class_is_not_judged() -> None:
    features, targets = blobs()
    labels = targets.copy()
    labels[10] = 3
    formed = belief.form(features, labels, 4, alone(90))
    assert list(np.flatnonzero(~formed.judged)) == [10]
    assert 10 not in set(findings.find(formed, labels).suspects["row"])


def test_outliers_and_pairs() -> None:
    features, targets = blobs()
    features[20] = features[50] * 1.001
    features[60] = [0, 0, 0, 0, 0, 0, 0, 9]
    found = findings.find(belief.form(features, targets, 3, alone(90)), targets)
    assert found.outliers.loc[0, "row"] == 60
    assert found.outliers["distance"].is_monotonic_decreasing
    assert tuple(found.pairs.loc[0, ["row", "other"]]) == (20, 50)
    assert not found.pairs.duplicated(["row", "other"]).any()
    left = findings.undecided(found, np.array([50, 60]))
    assert not {50, 60} & (set(left.pairs["row"]) | set(left.pairs["other"]) | set(left.outliers["row"]))
    assert len(left.overlaps) == len(found.overlaps)


# page and CSV


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "images"
    write_drawings(root, 12)
    for path, kind in zip(WRONG, ("stripes", "circle"), strict=True):
        (root / path).write_bytes(encoded(drawing(kind, 77_000 + len(path))))
    return root


def write_features(prepared: PreparedData, maps: bool = False) -> Any:
    """What `extract` would have written: features that tell what is drawn. maps: 2 x 2 instead of vectors."""
    paths = paths_in(prepared.folder)
    used = prepared.catalogue[prepared.catalogue["state"] == "used"]
    drawn = used["path"].str.split("/").str[0].replace(HOSTILE, "cross")
    drawn = drawn.mask(used["path"].str.endswith("900.png"), "stripes").mask(
        used["path"].str.endswith("901.png"), "circle"
    )
    centres = np.eye(3, 8)[[CLASSES.index(name) for name in drawn]]
    features = np.abs(3 * centres + np.random.default_rng(0).normal(0, 0.4, centres.shape)).astype(np.float32)
    array = features[:, None]
    if maps:
        array = np.stack([np.stack([array * k, array * (2 - k)], 2) for k in (0.5, 1.5)], 2)
    meta = store.Meta({}, {}, array.shape, "float32", store.examples_digest(used["sha256"]))
    store.begin(paths.features)
    np.save(paths.features / store.ARRAY, array)
    store.write_meta(paths.features, meta)
    return paths


def audited(prepared: PreparedData, root: Path, decisions: str | None = None, most: int = 5) -> tuple[run.Audit, str]:
    paths = write_features(prepared)
    done = run.run(subject.read(paths, decisions), "folder", root, most, prepared.folder / "audit")
    return done, done.files[0].read_text()


def sheet_of(done: run.Audit) -> pd.DataFrame:
    return pd.read_csv(done.files[1], dtype=str, keep_default_na=False)


def test_the_page_shows_suspects_beside_their_neighbours(root: Path, prepare: Prepare) -> None:
    done, page = audited(prepare(root), root)
    assert {one["path"]: one["suggested"] for one in done.listed[:2]} == dict(
        zip(WRONG, ("stripes", "circle"), strict=True)
    )
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for words in ("38 images of 3 classes", "label circle", "looks like stripes", *WRONG):
        assert words in text, words
    for one in done.listed:
        assert len(one["neighbours"]) == run.NEIGHBOURS
        assert one["path"] not in [near["path"] for near in one["neighbours"]]
    assert 'class="other"' in page
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!data:image/jpeg;base64,|#)[^"]*"', page) == []


def test_copies_stand_side_by_side(root: Path, prepare: Prepare) -> None:
    """Of two labels first, as they are used where data.duplicates says so."""
    shutil.copy(root / "stripes" / "003.png", root / "stripes" / "again.png")
    shutil.copy(root / "circle" / "004.png", root / "cross" / "copy.png")
    prepared = prepare(root, {"duplicates.conflicting_labels.identical": "keep"})
    done, page = audited(prepared, root)
    found = sheet_of(done).set_index("path")["found"]
    assert found["stripes/again.png"] == "copy of stripes/003.png"
    assert found["stripes/003.png"] == "copy of stripes/again.png"
    assert found["cross/copy.png"] == "copy of circle/004.png" or found["cross/copy.png"] == "suspect"
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert text.rindex("circle/004.png") < text.rindex("stripes/003.png")
    assert 'class="pair apart"' in page


def test_names_are_text(root: Path, tmp_path: Path, prepare: Prepare) -> None:
    shutil.move(root / "cross", root / HOSTILE)
    done, page = audited(prepare(root), root)
    assert HOSTILE in {one["label"] for one in done.listed}
    assert HOSTILE not in page
    assert "&lt;img src=x" in page


def test_the_same_files_twice(root: Path, prepare: Prepare) -> None:
    prepared = prepare(root)
    first = [file.read_bytes() for file in audited(prepared, root)[0].files]
    assert [file.read_bytes() for file in audited(prepared, root)[0].files] == first


def test_pictures_that_are_not_here_leave_their_place_empty(root: Path, prepare: Prepare) -> None:
    prepared = prepare(root)
    shutil.rmtree(root)
    _, page = audited(prepared, root)
    assert "base64" not in page
    assert "no picture" in page


def test_decisions_in_the_csv_are_applied_and_not_asked_again(root: Path, prepare: Prepare) -> None:
    """The loop: what is written is filled in, applied by `prepare`, and stands in the next CSV, decided."""
    done, _ = audited(prepare(root), root)
    rows = sheet_of(done)
    assert done.files[1].read_bytes().startswith(b"\xef\xbb\xbf"), "a spreadsheet takes it for UTF-8"
    assert set(rows["decision"]) == {""}
    assert not rows["path"].duplicated().any()
    assert list(rows["path"][:2]) == [one["path"] for one in done.listed[:2]]
    chosen = rows["path"].isin(WRONG)
    rows.loc[chosen, "decision"] = rows.loc[chosen, "suggested"]
    other = rows.index[~chosen][0]
    rows.loc[other, "decision"] = "remove"
    relabel.FOLDER.mkdir(parents=True)
    rows.to_csv(relabel.FOLDER / "a.csv", index=False)

    prepared = prepare(root, {"relabel": "a.csv"})
    assert prepared.metrics["relabelled"]["changed"] == 2
    assert prepared.metrics["relabelled"]["removed"] == 1
    again, page = audited(prepared, root, "a.csv")
    assert again.metrics["decided"] == 2
    assert again.metrics["images"] == done.metrics["images"] - 1
    assert not set(WRONG) & {one["path"] for one in again.listed}
    assert "decided before, not listed" in page
    kept = sheet_of(again).set_index("path")
    decided = kept[kept["found"] == "decided"]
    assert dict(decided["decision"]) == {
        WRONG[0]: "stripes", WRONG[1]: "circle", rows.loc[other, "path"]: "remove",
    }  # fmt: skip
    kept.reset_index().to_csv(relabel.FOLDER / "a.csv", index=False)
    assert prepare(root, {"relabel": "a.csv"}).metrics["relabelled"] | {"undecided": 0} == (
        prepared.metrics["relabelled"] | {"undecided": 0}
    )


def test_whole_maps_are_pooled(root: Path, prepare: Prepare) -> None:
    prepared = prepare(root)
    vectors = subject.read(write_features(prepared), None).features
    np.testing.assert_allclose(subject.read(write_features(prepared, maps=True), None).features, vectors, rtol=1e-6)


def test_without_features_it_says_what_to_set(root: Path, prepare: Prepare) -> None:
    paths = paths_in(prepare(root).folder)
    store.write_none(paths.features, store.Meta({}, {}, (0,), "float32", ""), "train.enabled is false")
    with pytest.raises(StaleError, match=r"It holds none, since train.enabled is false\. Set it to true"):
        subject.read(paths, None)


# the command


def test_the_command_prints_and_logs(
    root: Path, tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conftest import params_of
    from graft.tracking import findings as logged

    prepared = prepare(root)
    paths = write_features(prepared)
    params = params_of({"data.source": "folder", "data.path": str(root)})
    monkeypatch.setattr(command, "load", lambda: params)
    monkeypatch.setattr(command.layout, "read", lambda: paths)
    monkeypatch.setattr(command, "ready_to_look", lambda params, paths: (params, paths))
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(logged, "log", lambda *arguments: calls.append(arguments) or "the-run")
    done = CliRunner().invoke(cli.app, ["audit", "--most", "3", "--out", str(tmp_path / "here")])
    assert done.exit_code == 0, done.output
    for words in (*WRONG, "classes that overlap", "of 38 images look more like another class", "MLflow run the-run"):
        assert words in done.output, done.output
    [(kind, experiment, _, _, metrics, files)] = calls
    assert (kind, experiment) == ("audit", "graft")
    assert {name: value for name, value, _ in metrics}["images"] == 38
    assert files == [tmp_path / "here" / run.PAGE, tmp_path / "here" / run.SHEET]
    assert all(file.is_file() for file in files)
