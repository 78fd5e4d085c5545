"""Real photos and ImageNet weights, where GRAFT_REAL_DATA names a folder that has them."""

from __future__ import annotations

import html
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from conftest import REPOSITORY, PreparedData, encoded, paths_in
from graft.backbones import build
from graft.examples import catalogue, report
from graft.examples.sources import SOURCES
from graft.features.engines import ENGINES
from graft.inputs.batches import Task, batches
from graft.inputs.image.decode import Resizing
from graft.inputs.image.spec import ImageInput
from graft.pipeline import lock
from test_defects import png_of_size

Prepare = Callable[..., PreparedData]
SHORTS = "train/shorts/6075b4a5-5b1a-4ce0-aea0-9dbfbca7c35c.jpg"
SKIRT = "train/skirt/637a56e4-7fa6-4f75-8859-0f8902461554.jpg"

pytestmark = [pytest.mark.real, pytest.mark.long]

CLOTHING = Path("datasets") / "clothing-dataset-small"


@pytest.fixture(scope="module")
def photos(real_data: Path) -> Path:
    return real_data / CLOTHING


@pytest.fixture
def imagenet(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras's cache is the folder with the weights; Keras reads KERAS_HOME once, when imported."""
    from keras.src.backend import config

    monkeypatch.setattr(config, "_KERAS_DIR", str(real_data / "keras"))


def test_the_photos_on_their_official_sides(photos: Path, prepare: Prepare) -> None:
    """Every photo is used but two, which show the same shorts and are labelled shorts and skirt."""
    found = prepare(photos, {"max_bad_fraction": 0.001})
    ignored = found.catalogue[found.catalogue["state"] == "ignored"]
    assert ignored["path"].tolist() == ["LICENSE", "README.md"]
    assert found.aside == {
        path: ("conflicting labels", f"{label}, but nearly identical to {other} of {wrong}")
        for path, label, other, wrong in ((SHORTS, "shorts", SKIRT, "skirt"), (SKIRT, "skirt", SHORTS, "shorts"))
    }
    assert found.metrics["split"] == {"train": 3066, "validation": 341, "test": 372, "unused": 0}
    assert found.metrics["classes"] == 10
    kept = prepare(photos, {"duplicates.conflicting_labels.near": "keep"})
    assert kept.metrics["split"] == {"train": 3068, "validation": 341, "test": 372, "unused": 0}
    assert "3781 images have not changed since they were examined: not read again" in kept.said


def test_the_pinned_import_is_of_these_photos(photos: Path) -> None:
    """data/clothing.dvc: revision and DVC's hash of the directory; and DVC does not clone it at every experiment."""
    pinned = yaml.safe_load((REPOSITORY / "data" / "clothing.dvc").read_text())
    (dep,), (out,) = pinned["deps"], pinned["outs"]
    assert dep["repo"]["rev_lock"] == "11961516512414bf9f6c150a832cfd21b54a6b54"
    assert (out["md5"], out["nfiles"]) == (lock.md5_of_file(photos), 3783)
    assert "/data/clothing.dvc" in (REPOSITORY / ".dvcignore").read_text().splitlines()


@pytest.mark.slow
def test_mnist_from_its_archive(real_data: Path, prepare: Prepare) -> None:
    """70,000 PNGs, not unpacked, two digits of them used; the few near-identical ones are upright strokes."""
    found = prepare(real_data / "datasets" / "mnist-png.tar.gz", {"classes": {"0": "0", "1": "1"}}, source="mnist")
    assert found.metrics["found"] == 70_003
    assert found.metrics["used"] == 6903 + 7877
    assert found.metrics["quarantined"] == 0
    assert found.metrics["duplicates"]["identical"] == 0
    assert set(found.duplicates["label"]) == {"1"}
    per_class = found.split[found.split["split"] == "test"]["label"].value_counts().sort_index()
    assert per_class.tolist() == [980, 1135]


# 60 defects in a copy of the photos


def plant(root: Path) -> dict[str, str]:
    """Spoil photos and add files, 60 and more; path -> the reason that must be found, "" for a copy that must be."""
    rng = np.random.default_rng(0)
    photos = sorted(path for path in root.rglob("*.jpg") if path.name not in (Path(SHORTS).name, Path(SKIRT).name))
    chosen = [photos[i] for i in rng.choice(len(photos), 120, replace=False)]
    take = iter(chosen)
    planted: dict[str, str] = {}

    def spoil(reason: str, n: int, change: Callable[[bytes], bytes]) -> None:
        for _ in range(n):
            path = next(take)
            path.write_bytes(change(path.read_bytes()))
            planted[path.relative_to(root).as_posix()] = reason

    def add(reason: str, name: str, content: bytes | Path | None, n: int = 5) -> None:
        for i in range(n):
            path = next(take).with_name(name.format(i))
            if isinstance(content, Path):
                path.symlink_to(content)
            elif content is None:
                os.mkfifo(path)
            else:
                path.write_bytes(content)
            planted[path.relative_to(root).as_posix()] = reason

    def zeroed(data: bytes) -> bytes:
        middle = len(data) // 2
        return data[:middle] + bytes(2000) + data[middle + 2000 :]

    def as_format(data: bytes, file_format: str, **options: Any) -> bytes:
        out = io.BytesIO()
        Image.open(io.BytesIO(data)).save(out, file_format, **options)
        return out.getvalue()

    spoil("empty file", 5, lambda data: b"")
    spoil("truncated", 6, lambda data: data[: len(data) * 2 // 3])
    spoil("corrupt", 6, zeroed)
    spoil("not an image", 5, lambda data: b"<html>" + data[:3000].hex().encode())
    spoil("wrong extension", 5, lambda data: as_format(data, "PNG"))
    frame = Image.new("RGB", (64, 64))
    spoil("animation", 4, lambda data: as_format(data, "GIF", save_all=True, append_images=[frame]))
    add("too small", "tiny{}.png", encoded(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)), 3)
    add("too many pixels", "bomb{}.png", png_of_size(50_000, 50_000), 4)
    add("format not read", "scan{}.heic", b"II*\0" + bytes(100), 4)
    add("not an image", "link{}.jpg", Path("/etc/hostname"), 3)
    add("broken link", "gone{}.jpg", Path("nowhere.jpg"), 3)
    add("not a regular file", "pipe{}.jpg", None, 2)
    for i in range(2):
        path = Path(os.fsdecode(bytes(next(take).parent / f"bad{i}") + b"\xff.jpg"))
        path.write_bytes(b"x")
        planted[repr(path.relative_to(root).as_posix())] = "unusable name"
    (root / "stray").mkdir()
    for i in range(2):
        shutil.copy(next(take), root / "stray" / f"{i}.jpg")
        planted[f"stray/{i}.jpg"] = "no label"
    for i in range(2):  # the same photo under another label
        photo = next(take)
        other = root / "train" / ("hat" if photo.parent.name != "hat" else "shirt") / f"copy{i}.jpg"
        shutil.copy(photo, other)
        planted |= dict.fromkeys((p.relative_to(root).as_posix() for p in (photo, other)), "conflicting labels")
    for i in range(2):  # a test photo, saved again and smaller, among those for training
        photo = sorted((root / "test" / "dress").glob("*.jpg"))[i]
        image = Image.open(photo)
        copy = root / "train" / "dress" / f"leak{i}.jpg"
        image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(copy, quality=80)
        planted[copy.relative_to(root).as_posix()] = ""
    return planted


def test_sixty_planted_defects_are_found_and_nothing_else_is_lost(
    photos: Path, tmp_path: Path, prepare: Prepare
) -> None:
    root = tmp_path / "photos"
    shutil.copytree(photos, root, copy_function=shutil.copyfile)
    before = {path.relative_to(root).as_posix() for path in root.rglob("*.jpg")}
    planted = plant(root)
    assert len(planted) >= 60
    assert len(set(planted.values())) >= 12
    found = prepare(root, {"max_bad_fraction": 0.05})
    listed = dict(zip(found.quarantine["path"], found.quarantine["reason"], strict=True))
    expected = {path: reason for path, reason in planted.items() if reason}
    assert listed == expected | {SHORTS: "conflicting labels", SKIRT: "conflicting labels"}
    leaked = found.duplicates[found.duplicates["finding"] == "across splits"]
    assert set(leaked.loc[leaked["split"] == "unused", "path"]) == {path for path, why in planted.items() if not why}
    used = set(found.catalogue.loc[found.catalogue["state"] == "used", "path"])
    only_a_word = {path for path, reason in planted.items() if reason in ("", "wrong extension", "animation")}
    assert used == (before - set(planted) - {SHORTS, SKIRT}) | only_a_word
    page = html.unescape(report.page("folder", root, paths_in(found.folder)))
    assert [path for path in planted if path not in page] == []


def test_imagenet_weights_load_offline_and_know_photos(photos: Path, imagenet: None, prepare: Prepare) -> None:
    """Features of two photos of a class are nearer to each other than to the rest, far beyond chance."""
    prepared = prepare(photos, {"classes": {name: name for name in ("shoes", "dress", "hat")}})
    used = catalogue.read(prepared.folder / "catalogue.csv").used
    found = used[used["path"].str.startswith("test/")].groupby("label").head(8).reset_index(drop=True)
    loaded = build.build("MobileNetV2", 0.35, 224, "imagenet", 0)
    spec = ImageInput(Resizing(224, "stretch", "bilinear"))
    forward = ENGINES["tensorflow"](build.feature_model(loaded, "avg"), spec.signature(), "float32", False)
    tasks = [Task(path, sha256) for path, sha256 in zip(found["path"], found["sha256"], strict=True)]
    read = catalogue.reader(SOURCES["folder"], photos)
    features = np.concatenate([forward.run(batch)[0] for _, batch in batches(spec, read, tasks, 7)])
    features -= features.mean(0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    likeness = features @ features.T - 2 * np.eye(len(features))
    nearest = found["label"].to_numpy()[likeness.argmax(1)]
    assert (nearest == found["label"]).mean() > 0.7
