"""Real photos and ImageNet weights, where GRAFT_REAL_DATA names a folder that has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graft.backbones import build
from graft.data import catalogue, pixels, split
from graft.data.decode import Resizing
from graft.data.sources import SOURCES
from graft.features.engines import ENGINES

pytestmark = pytest.mark.real

CLOTHING = Path("datasets") / "clothing-dataset-small"


@pytest.fixture(scope="module")
def photos(real_data: Path) -> Path:
    return real_data / CLOTHING


@pytest.fixture
def imagenet(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras's cache is the folder with the weights; Keras reads KERAS_HOME once, when imported."""
    from keras.src.backend import config

    monkeypatch.setattr(config, "_KERAS_DIR", str(real_data / "keras"))


def test_every_photo_is_used_on_its_official_side(photos: Path) -> None:
    source = SOURCES["folder"]
    items = source.scan(photos)
    found = catalogue.build(source, photos, items)
    reasons = found.table.loc[found.table["state"] != "used", ["path", "reason"]].to_numpy().tolist()
    assert sorted(reasons) == [
        ["LICENSE", "not the name of an image file"],
        ["README.md", "not the name of an image file"],
    ]
    assert len(found.used) == 3781
    assert len(found.classes) == 10
    sides, notes = split.make(
        found.used, {i.path: i.split for i in items}, {"train": 0.6, "validation": 0.2, "test": 0.2}, 0
    )
    assert notes == []
    assert sides["split"].value_counts().to_dict() == {"train": 3068, "test": 372, "validation": 341}


def test_imagenet_weights_load_offline_and_know_photos(photos: Path, imagenet: None) -> None:
    """Features of two photos of a class are nearer to each other than to the rest, far beyond chance."""
    source = SOURCES["folder"]
    items = [item for item in source.scan(photos) if item.split == "test" and item.label in ("shoes", "dress", "hat")]
    found = catalogue.build(source, photos, items).used.groupby("label").head(8).reset_index(drop=True)
    loaded = build.build("MobileNetV2", 0.35, 224, "imagenet", 0)
    forward = ENGINES["tensorflow"](build.feature_model(loaded, "avg"))
    resizing = Resizing(224, "stretch", "bilinear")
    features = np.concatenate([forward(b) for b in pixels.batches("folder", photos, found, resizing, 7)])
    features -= features.mean(0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    likeness = features @ features.T - 2 * np.eye(len(features))
    nearest = found["label"].to_numpy()[likeness.argmax(1)]
    assert (nearest == found["label"]).mean() > 0.7
