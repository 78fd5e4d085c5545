"""Sources, catalogue and split: every file accounted for, every image on one side."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import CLASSES, drawing, encoded, write_drawings
from graft.data import catalogue, split
from graft.data.sources import SOURCES
from graft.errors import DataError, StaleError

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def catalogued(root: Path, source: str = "folder") -> catalogue.Catalogue:
    return catalogue.build(SOURCES[source], root, SOURCES[source].scan(root))


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_reads_what_it_lists(name: str, tmp_path: Path, images: Path) -> None:
    root = images if name == "folder" else tmp_path
    found = catalogued(root, name)
    assert len(found.used) == len(found.table) > 50
    assert found.table["path"].is_unique
    assert (found.used["sha256"].str.len() == 64).all()
    again = catalogued(root, name)
    pd.testing.assert_frame_equal(found.table, again.table)


def test_digits_are_the_ones_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    from graft.data.decode import open_rgb

    found = catalogued(tmp_path, "digits")
    assert len(found.used) == 1797
    assert found.classes == [str(digit) for digit in range(10)]
    pixels = np.asarray(open_rgb(SOURCES["digits"].read(tmp_path, "0123.pgm")))[..., 0]
    expected = load_digits().images[123]
    assert np.array_equal(np.round(pixels / 255 * 16), expected)
    assert pixels.max() == 255


def test_folder_accounts_for_every_file(tmp_path: Path) -> None:
    write_drawings(tmp_path, 2)
    (tmp_path / "circle" / "deeper").mkdir()
    (tmp_path / "circle" / "deeper" / "x.JPG").write_bytes(encoded(drawing("circle", 9), "JPEG"))
    (tmp_path / "circle" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "circle" / "notes.txt").write_text("x")
    (tmp_path / "circle" / "broken.png").write_bytes(encoded(drawing("circle", 9))[:100])
    (tmp_path / "circle" / "empty.png").write_bytes(b"")
    (tmp_path / "loose.png").write_bytes(encoded(drawing("circle", 9)))
    (tmp_path / ".git" / "objects").mkdir(parents=True)
    (tmp_path / ".git" / "objects" / "x.png").write_bytes(encoded(drawing("circle", 9)))
    (tmp_path / "square").symlink_to(tmp_path / "circle", target_is_directory=True)
    (tmp_path / "circle" / "wide\u3000space, né.png").write_bytes(encoded(drawing("circle", 9)))
    (tmp_path / "circle" / "odd\nname.png").write_bytes(encoded(drawing("circle", 9)))
    Path(os.fsdecode(bytes(tmp_path / "circle" / "caf") + b"\xe9.png")).write_bytes(encoded(drawing("circle", 9)))
    found = catalogued(tmp_path)
    aside = found.table[found.table["state"] == "set aside"].set_index("path")["reason"]
    assert aside.drop("circle/broken.png").to_dict() == {
        "circle/.DS_Store": "hidden file",
        "circle/notes.txt": "not the name of an image file",
        "circle/empty.png": "empty file",
        "loose.png": "not in a class directory",
        ".git": "hidden directory",
        "square": "link to a directory, not followed",
        "circle/odd\\nname.png": "name with control characters or not in UTF-8",
        "circle/caf\\\\udce9.png": "name with control characters or not in UTF-8",
    }
    assert aside["circle/broken.png"].startswith("cannot be decoded: ")
    assert len(found.used) == 8
    assert found.used.set_index("path").loc["circle/deeper/x.JPG", "label"] == "circle"


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_an_official_split_is_used_as_it_is(tmp_path: Path, validation: str) -> None:
    for i, name in enumerate(("train", validation, "test")):
        write_drawings(tmp_path / name, 3 + i, first_seed=100 * i)
    source = SOURCES["folder"]
    items = source.scan(tmp_path)
    used = catalogue.build(source, tmp_path, items).used
    sides, notes = split.make(used, {item.path: item.split for item in items}, FRACTIONS, seed=0)
    assert notes == []
    assert (sides["split"] == sides["path"].str.split("/").str[0].replace("val", "validation")).all()
    assert sides["split"].value_counts().to_dict() == {"train": 9, "validation": 12, "test": 15}


def test_an_official_split_without_validation_cuts_it_from_train(tmp_path: Path) -> None:
    write_drawings(tmp_path / "train", 8)
    write_drawings(tmp_path / "test", 2, first_seed=500)
    source = SOURCES["folder"]
    items = source.scan(tmp_path)
    used = catalogue.build(source, tmp_path, items).used
    sides, notes = split.make(used, {item.path: item.split for item in items}, FRACTIONS, seed=0)
    assert notes == ["official split without validation: cut from train by data.fractions"]
    assert sides["split"].value_counts().to_dict() == {"train": 18, "validation": 6, "test": 6}
    assert set(sides.loc[sides["split"] == "test", "path"].str[:5]) == {"test/"}


@pytest.mark.parametrize(
    ("directories", "message"),
    [
        (("test", "validation"), "has test, validation but no train directory"),
        (("train", "val", "validation"), "has both validation and val"),
        (("Train", "Test"), "has Test, Train, which look like parts of a split"),
        (("train", "testing"), "has testing, which look like parts of a split"),
        ((), "must hold directories of jpg, jpeg, png, bmp, gif, webp images, one per class"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, directories: tuple[str, ...], message: str) -> None:
    for name in directories:
        write_drawings(tmp_path / name, 1)
    with pytest.raises(DataError, match=message):
        SOURCES["folder"].scan(tmp_path)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.path: must be a directory with one directory per class. Got '.*/none'"):
        SOURCES["folder"].scan(tmp_path / "none")


def test_one_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.png").write_bytes(encoded(drawing("cross", 1)))
    with pytest.raises(DataError, match=r"at least two classes. Got 1 images of \['only'\]"):
        catalogue.require_trainable(catalogued(tmp_path))


def test_the_catalogue_survives_its_file(tmp_path: Path) -> None:
    """Labels that look like numbers, nothing or truth stay what they are."""
    rows = [(f"{label}/a, b.png", "0" * 64, 1, 2, 3, label, "used", "") for label in ("007", "NA", "true", "né")]
    written = catalogue.Catalogue(pd.DataFrame(rows, columns=list(catalogue.COLUMNS)))
    written.write(tmp_path / "catalogue.csv")
    assert catalogue.read(tmp_path / "catalogue.csv").used["label"].tolist() == ["007", "NA", "true", "né"]


def test_a_changed_image_is_noticed(tmp_path: Path) -> None:
    write_drawings(tmp_path, 2)
    found = catalogued(tmp_path)
    (tmp_path / "cross" / "001.png").write_bytes(encoded(drawing("cross", 77)))
    with pytest.raises(StaleError, match=r"cross/001\.png: changed since `prepare` catalogued it. Run `dvc repro`."):
        list(catalogue.read_images(SOURCES["folder"], tmp_path, found.used))


def table(per_class: int, classes: tuple[str, ...] = CLASSES) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [(f"{c}/{i}.png", rng.bytes(32).hex(), c) for c in classes for i in range(per_class)]
    return pd.DataFrame(rows, columns=["path", "sha256", "label"])


def test_fractions_are_stratified_and_seeded() -> None:
    used = table(20)
    first, _ = split.make(used, dict.fromkeys(used["path"]), FRACTIONS, seed=1)
    same, _ = split.make(used, dict.fromkeys(used["path"]), FRACTIONS, seed=1)
    other, _ = split.make(used, dict.fromkeys(used["path"]), FRACTIONS, seed=2)
    assert first.equals(same)
    assert not first.equals(other)
    counts = pd.crosstab(first["label"], first["split"])
    assert (counts["train"] == 12).all()
    assert (counts["validation"] == 4).all()
    assert (counts["test"] == 4).all()


def test_a_side_depends_on_content_not_on_order() -> None:
    used = table(20)
    shuffled = used.sample(frac=1, random_state=3).reset_index(drop=True)
    first, _ = split.make(used, dict.fromkeys(used["path"]), FRACTIONS, seed=1)
    other, _ = split.make(shuffled, dict.fromkeys(used["path"]), FRACTIONS, seed=1)
    assert first.set_index("path")["split"].to_dict() == other.set_index("path")["split"].to_dict()


def test_copies_of_an_image_stay_on_one_side() -> None:
    used = table(10, ("a",))
    twice = pd.concat([used, used.assign(path=used["path"] + ".copy")], ignore_index=True)
    sides, _ = split.make(twice, dict.fromkeys(twice["path"]), FRACTIONS, seed=1)
    assert (sides["split"].to_numpy()[:10] == sides["split"].to_numpy()[10:]).all()
    assert sides["split"].value_counts().to_dict() == {"train": 12, "validation": 4, "test": 4}


def test_one_more_image_moves_few_others() -> None:
    used = table(100, ("a",))
    more = table(101, ("a",))
    before, _ = split.make(used, dict.fromkeys(used["path"]), FRACTIONS, seed=1)
    after, _ = split.make(more, dict.fromkeys(more["path"]), FRACTIONS, seed=1)
    moved = (before["split"].to_numpy() != after["split"].to_numpy()[:100]).sum()
    assert moved <= 2


def test_a_class_too_small_is_named() -> None:
    used = pd.concat([table(5), table(2, ("rare",))], ignore_index=True)
    with pytest.raises(DataError, match=r"at least 3 different images, .*Too small: rare \(2\)"):
        split.make(used, dict.fromkeys(used["path"]), FRACTIONS, seed=0)


def test_a_class_missing_from_official_sides() -> None:
    used = table(3)
    official = {p: ("test" if p == "circle/0.png" else "train") for p in used["path"]}
    official["circle/1.png"] = official["cross/1.png"] = official["stripes/1.png"] = "validation"
    _, notes = split.make(used, official, FRACTIONS, seed=0)
    assert notes == ["no test images for: cross, stripes"]
    official["cross/0.png"] = official["cross/2.png"] = "test"
    with pytest.raises(DataError, match=r"every class must have training images\. None for: cross"):
        split.make(used, official, FRACTIONS, seed=0)


def test_the_split_is_read_back_and_belongs_to_its_catalogue(tmp_path: Path) -> None:
    used = table(10)
    sides, _ = split.make(used, dict.fromkeys(used["path"]), FRACTIONS, seed=0)
    split.write(sides, tmp_path / "split.csv")
    rows = split.read(tmp_path / "split.csv", used)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(30))
    assert (sides["split"].iloc[rows["test"]] == "test").all()
    with pytest.raises(StaleError, match="belongs to another catalogue"):
        split.read(tmp_path / "split.csv", used.iloc[:-1])
