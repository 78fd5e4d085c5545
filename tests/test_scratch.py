"""Networks without pretrained weights, and whole networks: what stages skip, and that the rest learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import PreparedData, params_of, paths_in, write_drawings
from graft.backbones import build, cuts
from graft.errors import ParamsError, TrainingError
from graft.examples import dataset, pixels
from graft.features import staleness, store
from graft.models import assemble, heads, saving
from graft.stages import evaluate, extract, finetune, train
from graft.training import history

SMALL = {
    "data.source": "folder",
    "backbone.input_size": 32,
    "extract.views": 0,
    "train.epochs": 2,
    "finetune.epochs": 2,
    "finetune.batch_size": 8,
}
CONV = {"filters": 32, "kernel_size": 3, "padding": "valid", "pool_size": 2, "hidden_units": 64, "dropout": 0.5}


def network_of(classifier: Any) -> Any:
    """The backbone inside a classifier."""
    return next(layer for layer in classifier.layers if hasattr(layer, "layers") and len(layer.layers) > 20)


def momenta(network: Any) -> set[float]:
    """Of all BatchNorm in it."""
    return {layer.momentum for layer in network.layers if type(layer).__name__ == "BatchNormalization"}


Run = Callable[..., tuple[Any, Any]]


@pytest.fixture
def run(tmp_path: Path, prepare: Callable[..., PreparedData]) -> Run:
    """All stages after `prepare` on drawings, with changes to params.yaml; returns params and paths. only: extract."""
    write_drawings(tmp_path / "images", 8)
    prepared = prepare(tmp_path / "images")

    def run(only: Any = None, **changes: Any) -> tuple[Any, Any]:
        given = SMALL | {"data.path": str(tmp_path / "images")}
        params = params_of(given | {key.replace("__", "."): value for key, value in changes.items()})
        paths = paths_in(prepared.folder)
        extract.run(params, paths)
        if only is extract:
            return params, paths
        train.run(params, paths, lambda epoch, metrics: None)
        finetune.run(params, paths, lambda epoch, metrics: None)
        evaluate.run(params, paths)
        return params, paths

    return run


def test_the_tutorials_network_from_scratch_has_its_parameters() -> None:
    """Grey 28 x 28, Conv 32 of 3 x 3 without padding, pooling, Dense 64, dropout, softmax over ten digits: 347,146."""
    network = build.build("GreyPixels", None, 28, "none", 0)
    head = heads.build("conv", CONV, (28, 28, 1), 10, 0)
    model = assemble.classifier(network, None, head)
    assert model.count_params() == 347_146
    grey = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1)).astype(np.float32)
    seen = np.asarray(build.feature_model(network, None)(np.repeat(grey, 3, axis=-1)))
    np.testing.assert_allclose(seen, grey / 255, rtol=1e-6)


def test_a_window_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"padding: must be same for feature maps of 3 x 3, of which a kernel of 3"):
        heads.build("conv", CONV, (3, 3, 8), 10, 0)
    heads.build("conv", CONV | {"padding": "same"}, (3, 3, 8), 10, 0)


def test_a_head_on_pixels_is_a_network_from_scratch(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    params, paths = run(
        backbone__name="GreyPixels", backbone__input_size=16, extract__pooling=None, train__head="conv",
        train__heads__conv__padding="valid", train__epochs=40, finetune__enabled=False,
    )  # fmt: skip
    assert params.backbone.weights == "none"
    assert params.finetune.cut is None
    staleness.require_current(params, paths)
    judged = json.loads(paths.metrics.read_text())
    assert list(judged) == ["head"]
    assert history.read(paths.train_history)["accuracy"].max() > 0.9
    assert "activations: none, since finetune.enabled is false" in capsys.readouterr().err
    stored = store.read_meta(paths.features)[0]
    assert stored.shape[2:] == (16, 16, 1)


@pytest.mark.long
def test_a_whole_network_is_trained_on_pixels(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is stored but the sample: no head is trained on features, and activations are the pixels."""
    params, paths = run(
        train__enabled=False, finetune__cut="input", finetune__batch_norm="learning", finetune__epochs=1,
        finetune__batch_size=2,  # a graph for two shards, and for one size
        backbone__name="MobileNet", backbone__alpha=0.25, backbone__weights="random", extract__views=1,
    )  # fmt: skip
    said = capsys.readouterr().err
    assert "features: none, since train.enabled is false: no head is trained on features" in said
    assert "activations: none, since finetune.cut is the network's input: pixels are read instead" in said
    assert "training from conv1 on" in said
    for folder, sample in ((paths.features, {"sample.npy"}), (paths.activations, set())):
        assert {file.name for file in folder.iterdir()} == {"meta.json"} | sample
        assert not store.read_meta(folder)[1]
    staleness.require_current(params, paths)
    assert history.read(paths.train_history).empty
    assert list(json.loads(paths.metrics.read_text())) == ["finetuned"]
    drawn = build.build("MobileNet", 0.25, 32, "random", 0).model
    trained = network_of(saving.load(paths.model))
    kept = history.read(paths.finetune_history).query("best == 1")["epoch"].iloc[0]
    changed = [
        not np.array_equal(one.numpy(), other.numpy())
        for one, other in zip(drawn.weights, trained.weights, strict=True)
    ]
    assert all(changed) == (kept == 1), "kernels, and the statistics of BatchNorm"
    assert momenta(trained) == {0.9}, "which soon forget what was drawn"


@pytest.mark.slow
def test_learning_batch_norm_takes_its_statistics_from_the_batch(run: Run) -> None:
    """From a cut in the middle: those above it move, those below stay."""
    _, paths = run(
        finetune__cut="block_16_project", finetune__batch_norm="learning", finetune__monitor="loss",
        finetune__learning_rate=0.001, finetune__epochs=3,
    )  # fmt: skip
    before, after = build.build("MobileNetV2", 0.35, 32, "bundled", 0).model, network_of(saving.load(paths.model))
    moved = {
        layer.name
        for layer in before.layers
        if type(layer).__name__ == "BatchNormalization"
        and not np.array_equal(layer.moving_mean, after.get_layer(layer.name).moving_mean)
    }
    assert moved == {"block_16_project_BN", "Conv_1_bn"}
    assert momenta(after) == {0.999}, "which remember what they were pretrained on"


@pytest.mark.long
def test_pixels_are_the_views_that_are_stored_elsewhere(run: Run) -> None:
    params, paths = run(extract, extract__views=3, finetune__enabled=False)
    data = dataset.read(paths.catalogue, paths.split)
    meta, _ = store.read_meta(paths.features)
    images = pixels.of(data, meta.made_with, "folder", Path(params.data.path))
    features = store.require(paths.features, data.sha256s)
    network = build.feature_model(build.of(params.backbone), "avg")
    rows = np.array([3, 0, 11])
    for epoch in range(4):
        got = np.asarray(network(images.drawn(rows, 7, epoch)))
        np.testing.assert_allclose(got, features.drawn(rows, 7, epoch), atol=1e-3)
    np.testing.assert_allclose(np.asarray(network(images.plain(rows))), features.plain(rows), atol=1e-3)


def test_the_input_is_a_cut_of_every_network() -> None:
    for name in ("MobileNetV2", "ResNet50V2"):
        model = build.build(name, 0.35 if name == "MobileNetV2" else None, 32, "random", 0).model
        points = cuts.derive(model)
        first, second, *_ = points.points
        assert cuts.resolve(points, "input") == first
        assert cuts.is_input(model, first)
        assert not cuts.is_input(model, second)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"train.enabled": False, "finetune.enabled": False},
            "train.enabled: must be true where finetune.enabled is false, or nothing is trained. Got false.",
        ),
        (
            {"backbone.name": "Pixels"},
            "finetune.cut: must name where fine-tuning starts, or finetune.enabled be false, since Pixels has no "
            "layers. Got null.",
        ),
        (
            {"backbone.name": "Pixels", "backbone.weights": "imagenet", "finetune.enabled": False},
            "backbone.weights: must be auto or none for Pixels, which has no network. Got 'imagenet'.",
        ),
        (
            {"backbone.weights": "none"},
            "backbone.weights: must be an existing file, or must be one of auto, bundled, imagenet, random. "
            "Got 'none'.",
        ),
    ],
)
def test_what_leaves_nothing_to_train_is_refused(
    changes: dict[str, Any], fault: str, params_with: Callable[..., Path]
) -> None:
    from graft.config.load import load

    with pytest.raises(ParamsError) as caught:
        load(params_with(changes))
    assert caught.value.faults == (fault,)
