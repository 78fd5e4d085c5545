"""One test drives every row of the table with random weights; others, how weights are had or refused."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from graft.backbones import build, cuts, known_cuts
from graft.backbones.table import BACKBONES, Backbone, get
from graft.cli.backbones import table
from graft.errors import BackboneError
from graft.features import speed
from graft.features.engines import ENGINES
from graft.runtime import cores

SLOW = {
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "EfficientNetV2M",
    "EfficientNetV2L",
    "NASNetLarge",
    "ConvNeXtBase",
    "ConvNeXtLarge",
    "ConvNeXtXLarge",
    "ResNet101",
    "ResNet152",
    "ResNet101V2",
    "ResNet152V2",
    "DenseNet169",
    "DenseNet201",
    "InceptionResNetV2",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2S",
    "ConvNeXtSmall",
}
QUICK = {"MobileNet", "MobileNetV3Small"}
"""Of each kind of operation, for the engines; the others are slow."""

MODULES = {
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3": "mobilenet_v3",
    "ResNet": "resnet",
    "EfficientNetB": "efficientnet",
    "EfficientNetV2": "efficientnet_v2",
    "DenseNet": "densenet",
    "InceptionV3": "inception_v3",
    "InceptionResNetV2": "inception_resnet_v2",
    "Xception": "xception",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "NASNet": "nasnet",
    "ConvNeXt": "convnext",
}


def module_of(row: Backbone) -> str:
    if row.preprocessing == "tf" and row.name.startswith("ResNet"):
        return "resnet_v2"
    return MODULES[max((prefix for prefix in MODULES if row.name.startswith(prefix)), key=len)]


LONG = {
    "DenseNet121",
    "EfficientNetB1",
    "EfficientNetV2B0",
    "InceptionV3",
    "MobileNetV3Large",
    "NASNetMobile",
    "ResNet50V2",
}
"""Like others of their family."""


def _marks(name: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if name in SLOW else [pytest.mark.long] if name in LONG else []


def rows() -> list[object]:
    return [pytest.param(row, marks=_marks(name), id=name) for name, row in BACKBONES.items()]


def test_the_table_has_all_of_keras_applications() -> None:
    import keras

    classes = {name for name in dir(keras.applications) if name[0].isupper()}
    assert {name for name, row in BACKBONES.items() if row.is_network} == classes


@pytest.mark.parametrize("row", rows())
def test_every_row(row: Backbone) -> None:
    """Builds at its least size, has the features and cut points the tables say, and Keras's own preprocessing."""
    import keras

    keras.backend.clear_session()
    side = row.min_input_size
    loaded = build.build(row.name, 1.0 if row.alphas else None, side, "random", random_seed=1)
    assert loaded.model.output_shape[-1] == row.feature_dim
    here, known = cuts.derive(loaded.model), known_cuts.known(row.name)
    assert here.layers == known.layers
    assert {name: cut.layers for name, cut in here.points.items()} == {n: c.layers for n, c in known.points.items()}

    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype(np.float32)
    inputs = keras.Input((side, side, 3))
    ours = keras.Model(inputs, build.preprocess(row, inputs))
    if row.is_network:
        theirs = importlib.import_module(f"keras.applications.{module_of(row)}").preprocess_input(pixels.copy())
    else:
        theirs = pixels / 255
    np.testing.assert_allclose(np.asarray(ours(pixels)), theirs, atol=2e-5)

    features = np.asarray(build.feature_model(loaded, "avg")(pixels))
    assert features.shape == (2, row.feature_dim)
    assert np.isfinite(features).all()


ENGINE_TOLERANCE = 1e-4
"""Largest difference of a feature between engines, as a share of the largest feature."""


@pytest.mark.long
@pytest.mark.parametrize(
    "row", [pytest.param(r, marks=[] if r.name in QUICK else [pytest.mark.slow], id=r.name) for r in BACKBONES.values()]
)
def test_engines_agree_on_every_row(row: Backbone) -> None:
    import keras

    keras.backend.clear_session()
    side = row.min_input_size
    loaded = build.build(row.name, 1.0 if row.alphas else None, side, "random", 1)
    if row.name == "EfficientNetV2L":  # so deep that random weights amplify the last bit of a sum to the whole feature
        for layer in loaded.model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.gamma.assign(0.5 * layer.gamma)
    model = build.feature_model(loaded, "avg")
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side, 3)).astype(np.uint8)
    expected = np.asarray(model(pixels.astype(np.float32)))
    for name, engine in ENGINES.items():
        (got,) = engine(model, {"pixels": ((side, side, 3), "uint8")}, "float32", False).run({"pixels": pixels})
        assert np.abs(got - expected).max() <= ENGINE_TOLERANCE * np.abs(expected).max(), name


def test_too_small_is_what_keras_calls_too_small() -> None:
    for name, smaller in (("Xception", 70), ("InceptionV3", 74), ("VGG16", 31)):
        with pytest.raises(BackboneError, match=f"backbone: {name} cannot be built"):
            build.build(name, None, smaller, "random", 0)


def test_random_weights_are_drawn_from_their_seed() -> None:
    first, same, other = (build.build("MobileNet", 0.25, 32, "random", seed) for seed in (3, 3, 4))
    assert first.weights_sha256 == same.weights_sha256 != other.weights_sha256


def test_the_bundled_weights_are_the_committed_ones() -> None:
    bundled = get("MobileNetV2").bundled
    assert bundled is not None
    assert hashlib.sha256(bundled.path.read_bytes()).hexdigest() == bundled.sha256
    assert bundled.path.stat().st_size < 2_000_000
    loaded = build.build("MobileNetV2", bundled.alpha, 96, "bundled", 0)
    assert loaded.weights_sha256 != build.build("MobileNetV2", bundled.alpha, 96, "random", 0).weights_sha256


def test_a_weights_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    saved = build.build("MobileNet", 0.25, 32, "random", 5)
    saved.model.save_weights(tmp_path / "own.weights.h5")
    loaded = build.build("MobileNet", 0.25, 48, str(tmp_path / "own.weights.h5"), 0)
    assert loaded.weights_sha256 == saved.weights_sha256


def _groups(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return names


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "text.weights.h5").write_text("no weights")
    with pytest.raises(BackboneError, match=r"backbone\.weights: .*text\.weights\.h5 does not fit mobilenet_0"):
        build.build("MobileNet", 0.25, 32, str(tmp_path / "text.weights.h5"), 0)
    build.build("MobileNet", 0.5, 32, "random", 0).model.save_weights(tmp_path / "wide.weights.h5")
    with pytest.raises(BackboneError, match=r"wide\.weights\.h5 does not fit .* at this alpha"):
        build.build("MobileNet", 0.25, 32, str(tmp_path / "wide.weights.h5"), 0)
    partial = tmp_path / "partial.weights.h5"
    build.build("MobileNet", 0.25, 32, "random", 0).model.save_weights(partial)
    with h5py.File(partial, "r+") as file:
        doomed = [name for name in _groups(file) if name.endswith("conv2d_10/vars")]
        for name in doomed:
            del file[name]
    assert doomed
    with pytest.raises(BackboneError, match=r"partial\.weights\.h5 does not fit"):
        build.build("MobileNet", 0.25, 32, str(partial), 0)
    with pytest.raises(BackboneError, match="must be an existing file"):
        build.build("MobileNet", 0.25, 32, str(tmp_path / "none.weights.h5"), 0)


def test_an_official_efficientnet_file_is_not_loaded_by_hand(tmp_path: Path) -> None:
    """Keras adds a rescaling layer only for weights="imagenet" (keras#20147): by hand the pixels would be wrong."""
    file = tmp_path / "efficientnetb0_notop.h5"
    file.write_bytes(b"x")
    with pytest.raises(BackboneError, match=r"set backbone\.weights: imagenet"):
        build.build("EfficientNetB0", None, 32, str(file), 0)


def test_imagenet_without_network_or_cache_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty Keras cache, and a network that refuses."""
    import urllib.error

    from keras.src.utils import file_utils

    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError(OSError(101, "Network is unreachable"))

    monkeypatch.setattr(file_utils, "urlretrieve", refuse)
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(BackboneError) as caught:
        build.build("MobileNetV2", 0.5, 96, "imagenet", 0)
    message = str(caught.value)
    assert message.startswith(
        "backbone.weights: imagenet needs the file mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.5_96_no_top.h5 "
        f"of MobileNetV2, which is not in {tmp_path}/models and could not be downloaded"
    )
    assert "KERAS_HOME" in message
    assert "bundled, random or a file" in message


@pytest.mark.parametrize(
    ("cut", "name"),
    [
        ("block_13_expand", "block_13_expand"),
        (1, "Conv_1"),
        (3, "Conv_1"),
        (30, "block_13_project_BN"),
        (0.25, None),
    ],
)
def test_a_cut_by_name_number_or_fraction(cut: str | int | float, name: str | None) -> None:
    points = known_cuts.known("MobileNetV2")
    found = cuts.resolve(points, cut)
    if name == "block_13_project_BN":
        layers = [point.layers for point in points.points.values()]
        assert points.points[found].layers == min(n for n in layers if n >= 30)
    elif name is None:
        assert points.points[found].layers >= points.layers / 4
    else:
        assert found == name


def test_one_tensor_crosses_every_cut() -> None:
    """The part from each cut on really computes from that tensor alone what the whole computes."""
    import keras

    model = build.build("MobileNetV2", 0.35, 32, "random", 2).model
    pixels = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    expected = np.asarray(model(pixels, training=False))
    points = cuts.derive(model).points
    for name in ("block_3_expand", "block_13_expand", "block_14_expand", "Conv_1"):
        crossing = cuts.boundary(model, name)
        assert points[name].shape == crossing.shape[1:]
        below = keras.Model(model.input, crossing)
        above = keras.Model(crossing, model.output)
        got = np.asarray(above(below(pixels, training=False), training=False))
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.long
def test_the_compute_below_a_cut_is_what_tensorflow_counts() -> None:
    """Multiply-adds of the derived table against TensorFlow's own profiler, on networks of different operations."""
    import keras
    from tensorflow.python.profiler import model_analyzer, option_builder

    def counted(model: keras.Model) -> float:
        graph = _graph(model)
        options = option_builder.ProfileOptionBuilder.float_operation()
        options["output"] = "none"
        options["accounted_types"] = ["^(Conv2D|MatMul|DepthwiseConv2dNative)$"]
        options["trim_name_regexes"] = ["(?!.*(?:Conv2D|MatMul|depthwise)).*"]
        return float(model_analyzer.profile(graph, options=options).total_float_ops)

    for name, alpha, cut in (("MobileNetV2", 1.0, "block_13_expand"), ("ResNet50V2", None, "conv5_block1_preact_bn")):
        model = build.build(name, alpha, 224, "random", 0).model
        share = counted(keras.Model(model.input, cuts.boundary(model, cut))) / counted(model)
        point = cuts.derive(model).points[cut]
        assert point.below == pytest.approx(share, abs=0.02)
        assert known_cuts.known(name).points[cut] == point


def _graph(model: Any) -> Any:
    import tensorflow as tf

    spec = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    return tf.function(lambda x: model(x, training=False)).get_concrete_function(spec).graph


def test_the_table_fits_100_columns_and_shows_what_networks_cost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parameters and multiply-adds as published for the networks without their top (keras.io/api/applications)."""
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "keras" / "models").mkdir(parents=True)
    (tmp_path / "keras" / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5").touch()
    table()
    lines = [line for line in capsys.readouterr().out.splitlines() if "models" not in line]
    assert max(map(len, lines)) <= 100
    assert not [line for line in lines if "…" in line]
    rows = {line.split()[0]: line.rstrip().split(maxsplit=8) for line in lines if line}
    assert rows["ResNet50"][1:] == ["23.6", "M", "7.7", "2048", "224", "-", "401", "-"]
    # 14 x 14 x 96 float16 values an image at block_13_expand
    assert rows["MobileNetV2"][1:] == ["2.3", "M", "0.6", "1280", "224", "-", "38", "bundled (0.35), imagenet (1)"]


def test_a_measured_speed_is_kept_for_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(speed, "SECONDS", 0.2)
    row = replace(BACKBONES["MobileNetV3Small"], default_input_size=32)
    assert speed.known(row) is None
    rate = speed.measure(row)
    assert speed.known(row) == pytest.approx(rate, rel=0.01)
    assert rate > 0
    assert speed.known(BACKBONES["MobileNetV3Small"]) is None  # of another size
    monkeypatch.setenv("GRAFT_THREADS", "1" if cores.available() != 1 else "2")
    assert speed.known(row) is None
