"""KerasHub's networks for images: what they compute, how pixels are rescaled, where they are cut, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vision_network
from conftest import changed, default_params
from graft.backbones import build, cuts, encoders, known_cuts, networks, rescaling, taps, vision
from graft.backbones.vision import VISION, Rescaling
from graft.cli import backbones as backbones_command
from graft.cli import vision_backbones
from graft.config.load import of_tree
from graft.config.schema import BackboneParams
from graft.errors import BackboneError, ParamsError
from graft.features import compute
from graft.features.engines import ENGINES
from graft.pipeline import code
from graft.runtime.computing.exact import exact
from graft.training import shards
from vision_network import BLOCKS, MEAN, PATCH, REGISTERS, SIDE, STD, TRAINED_SIDE, WIDTH

PLACES = SIDE // PATCH
OTHERS = {"ViT": 1, "DINOV2": 1, "DINOV3": 1 + REGISTERS, "SigLIP": 0}
"""Tokens before those of the patches."""
INPUTS = {"DINOV2": "images", "DINOV3": "pixel_values"}
"""What KerasHub calls the pixels of a network that takes them by name."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """name -> a preset of it, as KerasHub saves one."""
    return {name: vision_network.write_preset(tmp_path_factory.mktemp(name) / "net", name) for name in VISION}


@pytest.fixture(scope="module", autouse=True)
def as_in_a_stage() -> Iterator[None]:
    """As every stage has TensorFlow."""
    with exact():
        yield


def params(name: str, weights: Path | str, side: int = SIDE) -> BackboneParams:
    tree = default_params()["backbone"] | {"name": name, "alpha": None, "weights": str(weights), "input_size": side}
    return BackboneParams.model_validate(tree)


def pixels(side: int = SIDE, n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3)).astype(np.float32)


def features(loaded: build.Loaded, pooling: str | None, x: np.ndarray) -> np.ndarray:
    return np.asarray(shards.outputs(build.feature_model(loaded, pooling), [x])[0])


# ---- what they compute


@pytest.mark.long
@pytest.mark.parametrize("name", ["ViT", "DINOV2"])
def test_a_network_in_hugging_faces_layout_is_what_its_authors_wrote(name: str, tmp_path: Path) -> None:
    """From pixels in [0, 255] on, by plain NumPy, with the mean and deviation that stand beside the weights."""
    side = TRAINED_SIDE[name]
    folder = vision_network.write_hugging_face(
        tmp_path / "net", name, do_rescale=True, rescale_factor=1 / 255, do_normalize=True, image_mean=MEAN,
        image_std=STD,
    )  # fmt: skip
    x = pixels(side)
    tokens = {"ViT": vision_network.vit, "DINOV2": vision_network.dinov2}[name]((x / 255 - MEAN) / STD)
    patches = tokens[:, 1:]
    for pooling, expected in (("cls", tokens[:, 0]), ("avg", patches.mean(axis=1)), ("max", patches.max(axis=1))):
        found = features(networks.built(params(name, folder, side), pooling), pooling, x)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert np.ptp(expected, axis=0).max() > 0.1, "images that differ, or the tolerance would say nothing"
    places = side // PATCH
    found = features(networks.built(params(name, folder, side), None), None, x)
    np.testing.assert_allclose(found, patches.reshape(-1, places, places, WIDTH), atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("name", VISION)
def test_every_row_gives_what_kerashubs_own_network_gives(name: str, folders: dict[str, Path]) -> None:
    import keras_hub

    side, x = TRAINED_SIDE[name], pixels(TRAINED_SIDE[name])
    whole = getattr(keras_hub.models, f"{name}Backbone").from_preset(str(folders[name]))
    ready = keras_hub.layers.ImageConverter.from_preset(str(folders[name]), image_size=(side, side))(x)
    if name == "SigLIP":
        expected = np.asarray(whole.vision_encoder({"images": ready}))
    else:
        tokens = np.asarray(whole({INPUTS[name]: ready} if name in INPUTS else ready))
        assert tokens.shape[1] == OTHERS[name] + (side // PATCH) ** 2
        expected = tokens[:, 0]
    loaded = networks.built(params(name, folders[name], side), "cls")
    np.testing.assert_allclose(features(loaded, "cls", x), expected, atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 0.1


@pytest.mark.parametrize("name", ["DINOV2", "DINOV3"])
def test_families_for_any_size_are_built_as_kerashub_builds_them(name: str, folders: dict[str, Path]) -> None:
    """At another size than that of its files: positions are fitted, or rotated, by KerasHub itself."""
    import keras_hub

    whole = getattr(keras_hub.models, f"{name}Backbone").from_preset(str(folders[name]), image_shape=(SIDE, SIDE, 3))
    x = pixels()
    expected = np.asarray(whole({INPUTS[name]: (x / 255 - MEAN) / STD}))[:, OTHERS[name] :]
    found = features(networks.built(params(name, folders[name]), None), None, x)
    np.testing.assert_allclose(found.reshape(len(x), -1, WIDTH), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("DINOV2", {"use_swiglu_ffn": True, "num_register_tokens": 3}),
        ("DINOV3", {"use_gated_mlp": True, "hidden_activation": "silu", "use_key_bias": False}),
    ],
)
def test_the_largest_of_a_family_have_gates(name: str, others: dict[str, Any], tmp_path: Path) -> None:
    folder = vision_network.write_preset(tmp_path / "net", name, **others)
    import keras_hub

    side, x = TRAINED_SIDE[name], pixels(TRAINED_SIDE[name])
    whole = getattr(keras_hub.models, f"{name}Backbone").from_preset(str(folder))
    expected = np.asarray(whole({INPUTS[name]: (x / 255 - MEAN) / STD}))[:, 1 + whole.num_register_tokens :]
    found = features(networks.built(params(name, folder, side), None), None, x)
    np.testing.assert_allclose(found.reshape(len(x), -1, WIDTH), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["ViT", "DINOV2", "DINOV3"])
def test_both_layouts_load(name: str, tmp_path: Path) -> None:
    """Of the family's own rescaling, where no file says another."""
    folder = vision_network.write_hugging_face(tmp_path / "net", name)
    loaded = networks.of(params(name, folder))
    assert loaded.row.rescaling == VISION[name].rescaling  # type: ignore[union-attr]
    assert loaded.model.output_shape == (None, OTHERS[name] + PLACES**2, WIDTH)


@pytest.mark.parametrize("name", VISION)
def test_only_what_is_exact_on_every_processor_is_computed(name: str, folders: dict[str, Path]) -> None:
    """No reciprocal root and no complement of the error function is left in the graph, in layers within layers too."""
    import tensorflow as tf

    model = networks.built(params(name, folders[name]), "cls").model
    graph = tf.function(lambda x: shards.outputs(model, [x])).get_concrete_function(tf.constant(pixels()))
    kinds = {operation.type for operation in graph.graph.get_operations()}
    assert "Sqrt" in kinds
    assert not kinds & {"Rsqrt", "Erfc"}
    assert ("Tanh" in kinds) == (name == "SigLIP"), "whose GELU is the approximation by tanh, as it was trained"


@pytest.mark.long
@pytest.mark.parametrize("name", ["ViT", "DINOV3"])
def test_engines_agree(name: str, folders: dict[str, Path]) -> None:
    loaded = networks.built(params(name, folders[name]), "avg")
    network = build.feature_model(loaded, "avg", "block_1", (build.FEATURES, build.ACTIVATIONS))
    signature = {"pixels": ((SIDE, SIDE, 3), "uint8")}
    one, other = (
        ENGINES[engine](network, signature, "float32", True).run({"pixels": pixels().astype(np.uint8)})
        for engine in ENGINES
    )
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


# ---- cuts, taps, files


@pytest.mark.long
@pytest.mark.parametrize("name", VISION)
def test_one_tensor_crosses_between_blocks(name: str, folders: dict[str, Path]) -> None:
    loaded = networks.built(params(name, folders[name]), "avg")
    points = cuts.derive(loaded.model).points
    blocks = [point for point in points if point.startswith("block_")]
    assert blocks == [f"block_{i}" for i in range(BLOCKS)]
    assert next(iter(points)) == encoders.FIRST
    assert cuts.is_input(loaded.model, encoders.FIRST)
    assert points["block_1"].shape == (OTHERS[name] + PLACES**2, WIDTH)
    assert points["block_1"].below == pytest.approx(1 / 2, abs=0.1)
    whole = networks.of(params(name, folders[name]))
    assert [tap.layer for tap in taps.of(whole.model)] == [*blocks, taps.LAST]
    side_by_side = networks.built(params(name, folders[name]), "avg", taps.ALL)
    assert side_by_side.model.output_shape == (None, (BLOCKS + 1) * WIDTH)
    assert side_by_side.weights_sha256 == loaded.weights_sha256 == whole.weights_sha256


def test_the_usual_cut_of_a_network_of_many_blocks_is_between_two(tmp_path: Path) -> None:
    folder = vision_network.write_preset(tmp_path / "net", "ViT", blocks=5)
    points = cuts.derive(networks.built(params("ViT", folder), "avg").model)
    assert cuts.default(points) == "block_4"
    assert points.points["block_4"].below == pytest.approx(0.8, abs=1e-3)


def test_what_its_files_alone_tell_is_not_known_without_them() -> None:
    assert known_cuts.of("ViT") is None
    assert known_cuts.at_input("ViT", "input")
    assert not known_cuts.at_input("ViT", "block_0")


@pytest.mark.slow
def test_files_read_back_where_nothing_of_kerashub_was_imported(folders: dict[str, Path], tmp_path: Path) -> None:
    """As a logged model is: by Keras, which finds the layers where the file says, in one process without graft."""
    expected = {}
    for name, folder in folders.items():
        model = build.feature_model(networks.built(params(name, folder), "cls"), "cls")
        model.save(tmp_path / f"{name}.keras")
        expected[name] = np.asarray(model(pixels()))
    np.save(tmp_path / "pixels.npy", pixels())
    script = (
        "import sys, numpy as np, keras\n"
        "for name in sys.argv[2:]:\n"
        "    model = keras.models.load_model(f'{sys.argv[1]}/{name}.keras')\n"
        "    np.save(f'{sys.argv[1]}/{name}.npy', model(np.load(sys.argv[1] + '/pixels.npy')))\n"
        "assert not any(one.startswith('graft') for one in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path), *folders], check=True, capture_output=True)
    for name in folders:
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), expected[name], atol=1e-5)


@pytest.mark.parametrize("change", [-0.5, 0.5])
def test_positions_that_were_trained_are_read_back(change: float, folders: dict[str, Path], tmp_path: Path) -> None:
    """KerasHub writes DINOv2's as they were, unless their sum has fallen."""
    import keras

    model = networks.built(params("DINOV2", folders["DINOV2"]), "cls").model

    def positions(one: Any) -> Any:
        return next(layer for layer in one.layers if type(layer).__name__ == "DINOV2Embedding")

    trained = positions(model).interpolated_position_embeddings
    trained.assign(np.asarray(trained) + change * np.random.default_rng(1).uniform(0, 1, trained.shape))
    model.save(tmp_path / "model.keras")
    found = positions(keras.models.load_model(tmp_path / "model.keras"))
    np.testing.assert_array_equal(found.interpolated_position_embeddings, np.asarray(trained))
    assert not [weight.path for weight in model.weights if "mask_token" in weight.path], "nothing reads it"


# ---- how pixels are rescaled


def said(folder: Path, **files: Any) -> Rescaling:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return rescaling.of(VISION["ViT"], str(folder))


def test_rescaling_is_what_the_files_say(tmp_path: Path) -> None:
    assert said(tmp_path) == vision.HALVES
    factor = {"do_rescale": True, "rescale_factor": 0.5, "do_normalize": False}
    assert said(tmp_path, preprocessor_config=factor) == Rescaling((0.5,) * 3, (0.0,) * 3)
    normal = {"do_rescale": False, "do_normalize": True, "image_mean": [1, 2, 3], "image_std": [1, 2, 4]}
    assert said(tmp_path, preprocessor_config=normal) == Rescaling((1, 0.5, 0.25), (-1, -1, -0.75))
    assert said(tmp_path, image_converter={"config": {"scale": 0.1, "offset": None}}) == Rescaling(
        (0.1,) * 3, (0.0,) * 3
    )
    old = {"config": {"scale": 0.5, "mean": [1, 1, 1], "variance": [4, 4, 4]}}
    assert said(tmp_path, image_converter=old) == Rescaling((0.25,) * 3, (-0.5,) * 3)


@pytest.mark.parametrize(
    "content",
    ["no JSON", {"config": {"scale": [1, 2]}}, {"config": {"scale": "large"}}, {"config": []}, {}, []],
)
def test_a_file_about_pixels_that_says_nothing_of_them(content: Any, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"backbone\.weights: image_converter\.json of .* must .*\. Got: "):
        said(tmp_path, image_converter=content)


def test_rescaling_is_part_of_what_features_are_cached_by(folders: dict[str, Path], tmp_path: Path) -> None:
    """The same weights, another mean: another key, card and feature."""
    from dataclasses import asdict

    plain = vision_network.write_preset(tmp_path / "net", "ViT", own_pixels=False)
    one, other = (networks.built(params("ViT", folder), "avg") for folder in (folders["ViT"], plain))
    assert one.weights_sha256 == other.weights_sha256
    assert asdict(one.row) != asdict(other.row)
    assert np.abs(features(one, "avg", pixels()) - features(other, "avg", pixels())).max() > 0.1
    assert vision.HALVES.words == (
        "x * scale + offset with scale (0.007843137, 0.007843137, 0.007843137) and offset (-1, -1, -1)"
    )


def test_networks_that_come_with_keras_are_cached_as_if_there_were_no_others() -> None:
    """No module that takes KerasHub's apart is among the code that their features are cached by."""
    modules = code.closure([compute.__name__, "graft.inputs.image.spec"], code.CHANGE_NO_OUTPUT | code.TABLES)
    assert "graft.backbones.build" in modules
    assert not {name for name in modules if "vision" in name or "patches" in name or "networks" in name}
    assert {"graft.backbones.patches", "graft.backbones.vision_parts"} <= code.closure([networks.__name__])


# ---- what is refused


@pytest.mark.parametrize(
    ("name", "side", "fault"),
    [
        ("ViT", 40, r"backbone\.input_size: must be 32 for the ViT in .* Got 40"),
        ("SigLIP", 16, r"backbone\.input_size: must be 32 for the SigLIP in .* Got 16"),
        ("DINOV2", 50, r"backbone\.input_size: must be a multiple of 8 .* as 48 or 56\. Got 50"),
        ("DINOV3", 12, r"backbone\.input_size: must be a multiple of 8 .* as 8 or 16\. Got 12"),
    ],
)
def test_sizes_that_a_network_is_not_for(name: str, side: int, fault: str, folders: dict[str, Path]) -> None:
    with pytest.raises(BackboneError, match=fault):
        networks.built(params(name, folders[name], side), "avg")


def test_weights_that_are_not_there(folders: dict[str, Path], tmp_path: Path) -> None:
    for weights in (tmp_path, "vit_of_nobody", folders["DINOV2"]):
        with pytest.raises(BackboneError, match=r"must be a folder with ViT in Hugging Face's layout .* Got: "):
            networks.of(params("ViT", weights))
    with pytest.raises(BackboneError, match=r"must be a folder with SigLIP as KerasHub saves a preset; or the name"):
        networks.of(params("SigLIP", "siglip_of_nobody"))


def test_a_vit_without_a_class_token_has_no_cls(tmp_path: Path) -> None:
    import keras_hub

    common = vision_network.COMMON | {"image_shape": (SIDE, SIDE, 3), "mlp_dim": 32, "use_class_token": False}
    keras_hub.models.ViTBackbone(**common).save_to_preset(str(tmp_path / "net"))
    assert networks.built(params("ViT", tmp_path / "net"), "avg").model.output_shape[1:] == (PLACES, PLACES, WIDTH)
    with pytest.raises(BackboneError, match=r"extract\.pooling: must be avg, max or null for this ViT"):
        networks.built(params("ViT", tmp_path / "net"), "cls")


def test_without_kerashub_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(BackboneError, match=r"backbone\.name: ViT needs KerasHub .*graft-transfer\[hub\]"):
        networks.of(params("ViT", tmp_path))


def faults(folder: Path, changes: dict[str, Any]) -> list[str]:
    """Of params.yaml with a ViT in `folder`, and changes."""
    usual = {
        "backbone.name": "ViT", "backbone.weights": str(folder), "backbone.weights_sha256": encoders.digest(folder),
        "extract.pooling": "cls", "train.heads.linear.pooling": "cls",
    }  # fmt: skip
    try:
        of_tree(changed(default_params(), usual | changes), "params.yaml")
    except ParamsError as error:
        return list(error.faults)
    return []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, ""),
        ({"backbone.weights": "random", "backbone.weights_sha256": None}, ""),
        ({"backbone.weights": "vit_base_patch16_224_imagenet", "backbone.weights_sha256": None}, ""),
        ({"backbone.weights": "auto"}, "backbone.weights: must be, for ViT, an existing folder with its config.json"),
        ({"backbone.weights": "random"}, "backbone.weights_sha256: must be null for weights: random"),
        ({"backbone.weights_sha256": "ab"}, "backbone.weights_sha256: must be that of the files in"),
        ({"backbone.name": "VIT", "extract.pooling": "avg", "train.heads.linear.pooling": "avg"},
         "backbone.name: must be one of MobileNet"),
        ({"backbone.name": "MobileNetV2", "backbone.weights": "random", "backbone.weights_sha256": None},
         "extract.pooling: must be avg, max or null for this network"),
        ({"data.kind": "text", "data.source": "folder", "extract.views": 0},
         "backbone.name: must be a network for texts where data.kind is text. Got 'ViT'."),
        ({"backbone.name": "SigLIP", "extract.taps": "all", "train.head": "taps", "train.heads.taps.pooling": "cls",
          "finetune.enabled": False}, "extract.pooling: must be avg or max for extract.taps: all of SigLIP"),
    ],
)  # fmt: skip
def test_params_are_checked_before_anything_is_built(
    changes: dict[str, Any], fault: str, folders: dict[str, Path]
) -> None:
    found = faults(folders["ViT"], changes)
    assert len(found) == bool(fault), found
    assert not fault or found[0].startswith(fault)


# ---- commands


def test_backbones_lists_them_and_where_they_are_cut(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbones_command.table()
    said = capsys.readouterr().out
    assert all(name in said for name in VISION)
    monkeypatch.setattr(
        vision_backbones, "start_tensorflow", lambda: None
    )  # which has computed before, in this process
    backbones_command.show("DINOV3", None, SIDE, str(folders["DINOV3"]))
    said = capsys.readouterr().out
    assert "DINOV3 of net at 32 px" in said
    assert {"start", "block_0", "block_1"} <= {line.split()[0] for line in said.splitlines() if line.strip()}
    backbones_command.show("ViT", None, None, None)
    said = " ".join(capsys.readouterr().out.split())
    assert "ViT of its smallest published size" in said
    assert "5,524,416 parameters" in said, "ViT-Ti/16 without its head of 1,000 classes has 5.5 million"
    with pytest.raises(BackboneError, match="--alpha: must be given for networks that come with Keras"):
        backbones_command.show("ViT", 1.0, None, None)
    with pytest.raises(BackboneError, match="must be given networks that come with Keras"):
        backbones_command.measure(["ViT"])
