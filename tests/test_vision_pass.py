"""A whole pass on networks of KerasHub's for images: cached features, a cut between blocks, the model and its uses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import vision_network
from conftest import Pass, changed, params_of, whole_pass
from graft.backbones import encoders
from graft.examples import dataset
from graft.explaining import grad_cam
from graft.features import store
from graft.models import saving
from graft.prediction import heads
from graft.runtime.computing.exact import exact
from graft.serving.classifier import Classifier
from vision_network import MEAN, PATCH, SIDE, STD, WIDTH

pytestmark = pytest.mark.slow

POOLINGS = {"ViT": "avg", "DINOV2": "cls"}
PER_CLASS = 8


def changes(name: str, folder: Path, pooling: str) -> dict[str, Any]:
    return {
        "backbone.name": name, "backbone.weights": str(folder), "backbone.weights_sha256": encoders.digest(folder),
        "backbone.input_size": SIDE, "extract.pooling": pooling, "train.heads.linear.pooling": pooling,
        "extract.views": 1, "finetune.cut": "block_1",
    }  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def as_in_a_stage() -> Iterator[None]:
    """As every stage has TensorFlow."""
    with exact():
        yield


NAMES = ["ViT", pytest.param("DINOV2", marks=pytest.mark.slow)]
"""Of DINOv2 the default suite has the network itself (test_vision.py): a pass takes ten seconds, and a map is a map."""


@pytest.fixture(scope="module")
def passes(as_in_a_stage: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pass]:
    """name -> a pass of it, made once."""

    @cache
    def made(name: str) -> Pass:
        root = tmp_path_factory.mktemp(name)
        folder = vision_network.write_preset(root / "net", name)
        return whole_pass(root, changes(name, folder, POOLINGS[name]), PER_CLASS)

    return made


def data_of(made: Pass) -> dataset.Dataset:
    return dataset.read(made.paths.catalogue, made.paths.split)


def files(made: Pass) -> list[Path]:
    """Of the used images in their order."""
    return [Path(made.params.data.path) / path for path in data_of(made).used["path"]]


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_kerashubs_own_network(name: str, passes: Callable[[str], Pass]) -> None:
    """On pixels that are decoded and rescaled here, from the very folder that params.yaml names."""
    import keras_hub

    made = passes(name)
    data = data_of(made)
    cached = store.require(made.paths.features, data.sha256s).plain(np.arange(len(data.used)))
    classifier = Classifier.read(made.paths.model.parent)
    decoded = np.stack([classifier.arrays(file.read_bytes())["pixels"] for file in files(made)])
    kind = getattr(keras_hub.models, f"{name}Backbone")
    sized = {"image_shape": (SIDE, SIDE, 3)} if name == "DINOV2" else {}
    whole = kind.from_preset(made.params.backbone.weights, **sized)
    ready = (decoded / 255.0 - MEAN) / STD
    tokens = np.asarray(whole({"images": ready} if name == "DINOV2" else ready))
    expected = tokens[:, 1:].mean(axis=1) if POOLINGS[name] == "avg" else tokens[:, 0]
    np.testing.assert_allclose(cached, expected, atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_what_crosses_at_the_cut_is_kept_and_only_what_is_above_is_trained(
    name: str, passes: Callable[[str], Pass]
) -> None:
    made = passes(name)
    meta, stored = store.read_meta(made.paths.activations)
    assert stored
    assert meta.shape == (3 * PER_CLASS, 2, 1 + (SIDE // PATCH) ** 2, WIDTH)
    network = next(layer for layer in saving.load(made.paths.model).layers if hasattr(layer, "layers") and layer.layers)
    before = vision_network.network(name)
    blocks = before.get_layer("vit_encoder").encoder_layers if name == "ViT" else before.encoder.layers
    for i, block in enumerate(blocks):
        own = next(layer for layer in network.layers if layer.name == block.name)
        same = [np.array_equal(a, b) for a, b in zip(own.get_weights(), block.get_weights(), strict=True)]
        assert all(same) if i == 0 else not any(same[:2]), (i, same)
    assert pd.read_csv(made.paths.finetune_history)["best"].iloc[0] == 0, "an epoch is kept, not the start"


def test_the_card_says_how_pixels_are_rescaled(passes: Callable[[str], Pass]) -> None:
    card = json.loads(passes("ViT").paths.card.read_text())
    scale = ", ".join(f"{1 / 255 / one:.7g}" for one in STD)
    assert card["preprocessing"]["in_model"].startswith(f"x * scale + offset with scale ({scale}) and offset (-2, -2,")
    assert card["finetuned_from"] == "block_1"
    assert card["backbone"]["name"] == "ViT"


@pytest.mark.parametrize("name", NAMES)
def test_predictions_from_files_are_those_that_were_evaluated(name: str, passes: Callable[[str], Pass]) -> None:
    made = passes(name)
    table = pd.read_parquet(made.paths.predictions)
    table = table[(table["model"] == "finetuned") & (table["split"] == "test")]
    assert len(table) >= 3
    root, classifier = Path(made.params.data.path), Classifier.read(made.paths.model.parent)
    found = classifier.probabilities([root / one for one in table["path"]])
    np.testing.assert_allclose(found, table[[f"p:{one}" for one in classifier.classes]], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_every_exported_file_says_what_the_model_says(
    name: str, passes: Callable[[str], Pass], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graft.export import run
    from graft.export.formats import FORMATS
    from graft.pipeline.layout import Exports
    from graft.stages import export as stage

    costs = {"milliseconds": {}, "peak_megabytes": 1.0}
    monkeypatch.setattr(stage, "Judge", partial(run.Judge, measure=lambda *_: costs))
    made = passes(name)
    classifier = Classifier.read(made.paths.model.parent)
    exports = Exports(tmp_path / "models", tmp_path / "metrics")
    stage.run(made.params, made.paths, exports, classifier, ("onnx", "openvino", "tflite"), ("float32",))
    some = [np.random.default_rng(i).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8) for i in range(4)]
    expected = classifier.probabilities(some)
    assert np.ptp(expected, axis=0).max() > 0.01
    for one in ("onnx", "openvino", "tflite"):
        load = FORMATS[one].load(exports.models / one / "float32", 1)
        found = np.concatenate([load(pixels[None]) for pixels in some])
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=one)


def test_heat_is_of_a_map_of_patches(passes: Callable[[str], Pass]) -> None:
    model = saving.load(passes("ViT").paths.model)
    cam = grad_cam.GradCam(model)
    assert cam.places == (SIDE // PATCH, SIDE // PATCH)
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.float32)
    assert cam.heat_maps(pixels, np.array([0, 1])).max() == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_there_is_no_heat_where_a_class_token_answers(passes: Callable[[str], Pass]) -> None:
    assert "class token" in grad_cam.GradCam(saving.load(passes("DINOV2").paths.model)).limit


def test_a_head_alone_says_where_its_network_is_not(passes: Callable[[str], Pass]) -> None:
    from graft.errors import DataError

    card = json.loads(passes("ViT").paths.card.read_text()) | {heads.READS: {"pooling": "avg", "taps": "none"}}
    with pytest.raises(DataError, match=r"need ViT with .* a card does not say where the files of"):
        heads.together({"one": heads.Head(saving.load(passes("ViT").paths.head), card)})


@pytest.mark.slow
def test_the_whole_network_is_trained_from_its_pixels(passes: Callable[[str], Pass]) -> None:
    """What is written is read back, by finetune's own gate; all that is trained has a gradient, or Keras would warn."""
    from graft.stages import extract, finetune

    made = passes("DINOV2")
    folder = made.folder / "whole"
    folder.mkdir()
    tree = {"finetune.cut": "input", "finetune.learning_rate": 0.01, "finetune.steps": 2, "finetune.epochs": None}
    dumped = changed(made.params.model_dump(), tree)
    params = params_of(tree=dumped)
    outs = {name: folder / name for name in ("features", "activations", "card", "finetune_history")}
    paths = replace(made.paths, model=folder / "model.keras", **outs)
    extract.run(params, paths)
    finetune.run(params, paths, lambda epoch, metrics: None)
    own = next(one for one in saving.load(paths.model).layers if hasattr(one, "layers") and one.layers)
    embedding = next(layer for layer in own.layers if type(layer).__name__ == "DINOV2Embedding")
    fitted = np.asarray(embedding.interpolated_position_embeddings)
    assert fitted.shape == (1, 1 + (SIDE // PATCH) ** 2, WIDTH)
    np.testing.assert_array_equal(fitted, np.asarray(embedding.position_embeddings))
    assert json.loads(paths.card.read_text())["finetuned_from"] == encoders.FIRST


def test_probe_ranks_blocks_and_tunes_from_them(passes: Callable[[str], Pass]) -> None:
    from graft.probing import run

    made = passes("ViT")
    choice, tuned = run.run([made.params], made.paths, epochs=1)
    assert {one.layer for one in choice.ranked} == {"block_0", "block_1", "output", "all 3 layers"}
    assert {one.network for one in choice.ranked} == {"ViT of net at 32 px"}
    assert [one.cut for one in tuned] == ["block_1"]


def test_the_logged_model_asks_for_kerashub(passes: Callable[[str], Pass], tmp_path: Path) -> None:
    from graft.tracking import model

    class Model:
        def __init__(self) -> None:
            self.flavors: dict[str, Any] = {}

        def add_flavor(self, name: str, **values: Any) -> None:
            self.flavors[name] = values

        def save(self, path: str) -> None:
            Path(path).write_text("")

    made = passes("ViT")
    card = json.loads(made.paths.card.read_text())
    model._KerasFile.save_model(str(tmp_path / "logged"), Model(), made.paths.model, card, None, None)
    names = {line.split("==")[0] for line in (tmp_path / "logged" / "requirements.txt").read_text().splitlines()}
    assert {"keras-hub", "keras", "pillow"} <= names
    assert "tokenizers" not in names
