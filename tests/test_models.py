"""Heads, assembling, saving the same bytes twice, and the two equality gates."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import default_params
from graft.backbones import build, cuts, taps
from graft.errors import BackboneError, StaleError, TrainingError
from graft.features import compute, engines
from graft.features.engines import ENGINES
from graft.features.engines.base import CannotRunError
from graft.models import assemble, heads, saving
from graft.models.fold import fold
from graft.training import shards

VALUES: dict[str, Any] = default_params()["train"]["heads"]


def head(name: str, shape: tuple[int, ...], seed: int = 1) -> Any:
    return heads.build(name, VALUES[name], shape, 4, seed)


def test_every_head_has_its_values_in_the_schema_and_the_file() -> None:
    from graft.config.schema import Heads

    assert set(heads.HEADS) == set(Heads.model_fields) == set(VALUES)


@pytest.mark.parametrize("name", heads.HEADS)
@pytest.mark.parametrize("shape", [(3, 3, 16), (1, 1, 16), (16,)])
def test_every_head_gives_probabilities(name: str, shape: tuple[int, ...]) -> None:
    if name == "conv" and len(shape) == 1:
        with pytest.raises(TrainingError, match=r"Set extract\.pooling: null"):
            head(name, shape)
        return
    features = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    first = np.asarray(head(name, shape)(features))
    assert first.shape == (5, 4)
    np.testing.assert_allclose(first.sum(1), 1, atol=1e-5)
    assert np.array_equal(first, np.asarray(head(name, shape)(features)))
    assert not np.array_equal(first, np.asarray(head(name, shape, seed=2)(features)))


def test_the_conv_head_is_the_tutorials() -> None:
    """Conv 32 3x3 relu, max-pool 2x2, flatten, Dense 64 relu, dropout 0.5, softmax."""
    layers = head("conv", (7, 7, 8)).layers[1:]
    assert [type(layer).__name__ for layer in layers] == [
        "Conv2D",
        "MaxPooling2D",
        "Flatten",
        "Dense",
        "Dropout",
        "Dense",
    ]
    assert (layers[0].filters, layers[0].kernel_size, layers[1].pool_size) == (32, (3, 3), (2, 2))
    assert (layers[3].units, layers[4].rate) == (64, 0.5)
    assert layers[0].activation.__name__ == layers[3].activation.__name__ == "relu"


SIGNATURE = {"pixels": ((32, 32, 3), "uint8")}


@pytest.fixture(scope="module")
def backbone() -> build.Loaded:
    return build.build("MobileNetV2", 0.35, 32, "bundled", 0)


def pixels(n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize("pooling", ["avg", "max", None])
def test_pooled_or_not_a_linear_head_gives_the_same(backbone: build.Loaded, pooling: str | None) -> None:
    """The head's own pooling of feature maps is the extractor's pooling."""
    vectors = build.feature_model(backbone, pooling or "avg")(pixels().astype(np.float32))
    maps = build.feature_model(backbone, None)(pixels().astype(np.float32))
    values = {"pooling": pooling or "avg", "dropout": 0.0}
    on_vectors = heads.build("linear", values, vectors.shape[1:], 4, 1)
    on_maps = heads.build("linear", values, maps.shape[1:], 4, 1)
    np.testing.assert_allclose(np.asarray(on_vectors(vectors)), np.asarray(on_maps(maps)), atol=1e-5)


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_agrees_with_the_model(backbone: build.Loaded, name: str) -> None:
    """Features and activations at a cut, each where it belongs."""
    model = build.feature_model(backbone, "avg", "block_13_expand", ("features", "activations"))
    got = ENGINES[name](model, SIGNATURE, "float32", False).run({"pixels": pixels()})
    for one, expected in zip(got, model(pixels().astype(np.float32)), strict=True):
        np.testing.assert_allclose(one, np.asarray(expected), rtol=1e-4, atol=1e-4)
        assert one.dtype == np.float32


def test_a_call_on_a_gpu_has_a_size_of_its_own(backbone: build.Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Always the same, so that features depend on no company; the key of what is cached has the GPU's name."""
    import tensorflow as tf

    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [gpu])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: {"device_name": "A100"})
    forward = ENGINES["tensorflow"](build.feature_model(backbone, "avg"), SIGNATURE, "float32", False)
    assert forward.batch_size == 64
    many, few = (forward.run({"pixels": pixels(70)[:n]})[0] for n in (70, 5))
    assert np.array_equal(few, many[:5])
    assert compute.device("tensorflow") == "A100"
    assert compute.device("openvino") == "CPU"


def test_tensorflow_computes_in_float32_only(backbone: build.Loaded) -> None:
    with pytest.raises(CannotRunError, match="float32 only, not in bfloat16"):
        ENGINES["tensorflow"](build.feature_model(backbone, "avg"), SIGNATURE, "bfloat16", False)


def test_what_to_do_where_an_engine_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    """auto on a CPU goes on with TensorFlow and says so; an engine that was asked for is an error."""
    cannot = CannotRunError("no such\n operation")
    assert engines.resolve("auto", "portable", True) == engines.resolve("auto", "native", False) == "openvino"
    assert engines.resolve("auto", "portable", False) == "tensorflow"
    with pytest.raises(BackboneError, match=r"extract\.engine: must be auto or tensorflow for this network"):
        engines.resolve("openvino", "portable", False)
    assert engines.instead("auto", "openvino", "float32", cannot) == "tensorflow"
    assert "note: OpenVINO cannot run this network (no such operation); using the tensorflow" in capsys.readouterr().err
    for wanted, precision in (("openvino", "float32"), ("auto", "bfloat16")):
        with pytest.raises(BackboneError, match=r"extract\.engine: openvino must .*Got: no such operation\. Set"):
            engines.instead(wanted, "openvino", precision, cannot)


def test_openvino_refuses_what_it_cannot_convert(backbone: build.Loaded) -> None:
    """An operation that only TensorFlow has; the error is the one that leads to the other engine."""
    import keras
    import tensorflow as tf

    class Odd(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return tf.reshape(tf.math.bessel_i0e(tf.reduce_mean(x, axis=(1, 2))), (-1, 3))

    inputs = keras.Input((32, 32, 3), name="pixels")
    with pytest.raises(CannotRunError):
        ENGINES["openvino"](keras.Model(inputs, Odd()(inputs)), SIGNATURE, "float32", False)


@pytest.mark.parametrize("name", ENGINES)
def test_a_feature_does_not_depend_on_its_batch(backbone: build.Loaded, name: str) -> None:
    forward = ENGINES[name](build.feature_model(backbone, "avg"), SIGNATURE, "float32", False)

    def features(of: np.ndarray) -> np.ndarray:
        return forward.run({"pixels": of})[0]

    together = features(pixels(9))
    assert np.array_equal(together[7], features(pixels(9)[7:8])[0])
    assert np.array_equal(together, features(pixels(9)[::-1].copy())[::-1])


def test_unfreezing_leaves_batch_norm_and_all_below_frozen(backbone: build.Loaded) -> None:
    import keras

    assemble.unfreeze(backbone, "block_13_expand")
    names = [layer.name for layer in backbone.model.layers]
    first = names.index("block_13_expand")
    for i, layer in enumerate(backbone.model.layers):
        frozen = i < first or isinstance(layer, keras.layers.BatchNormalization)
        assert layer.trainable is not frozen, layer.name


def test_training_moves_no_batch_norm_statistic_and_nothing_below_the_cut() -> None:
    import keras

    loaded = build.build("MobileNetV2", 0.35, 32, "bundled", 0)
    model = assemble.classifier(loaded, "avg", head("linear", (1280,)))
    assemble.unfreeze(loaded, "block_16_project")
    before = {w.path: w.numpy().copy() for w in model.weights}
    model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy")
    model.fit(pixels(8).astype(np.float32), np.eye(4, dtype=np.float32)[[0, 1, 2, 3] * 2], verbose=0)
    moved = {path for path, value in before.items() if not np.array_equal(value, _weight(model, path))}
    assert moved == {w.path for w in model.trainable_weights}
    assert any("block_16_project" in path for path in moved)
    assert not any("BN" in path or "bn" in path for path in moved)


@pytest.mark.long
@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0"])
def test_training_above_the_cut_trains_the_classifier(name: str) -> None:
    """From the activations alone; dropout and BatchNorm inside the backbone stay as in inference."""
    import keras
    import tensorflow as tf

    loaded = build.build(name, 0.35 if name == "MobileNetV2" else None, 32, "random", 0)
    cut = "block_16_expand" if name == "MobileNetV2" else "block6d_expand_conv"
    whole = assemble.classifier(loaded, "avg", head("linear", (1280,)))
    assemble.unfreeze(loaded, cut)
    above = assemble.above(whole, cut)
    below = assemble.opened(whole, cut)
    x = pixels(8).astype(np.float32)
    boundary = below(x)[2]
    before = np.asarray(whole(x))
    np.testing.assert_allclose(np.asarray(above(boundary)), before, atol=1e-5)
    y = np.eye(4, dtype=np.float32)[[0] * 8]
    whole.layers[-1].get_layer("dropout").rate = 0.0
    with tf.GradientTape() as tape:
        (trained,) = shards.apply(above, [tf.constant(boundary)], training=True)
        loss = tf.reduce_mean(keras.losses.categorical_crossentropy(y, trained))
    np.testing.assert_allclose(np.asarray(trained), before, atol=1e-5, err_msg="dropout in the backbone")
    gradients = tape.gradient(loss, [variable.value for variable in above.trainable_variables])
    keras.optimizers.Adam(0.01).apply(gradients, above.trainable_variables)
    assert not np.allclose(np.asarray(whole(x)), before, atol=1e-3)
    np.testing.assert_allclose(np.asarray(above(below(x)[2])), np.asarray(whole(x)), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "alpha", "side", "cut", "unfolded"),
    [
        ("MobileNetV2", 0.35, 32, "block_14_expand", 0),
        ("ResNet50", None, 32, "conv5_block2_1_conv", 0),  # convolutions with a bias
        ("InceptionV3", None, 75, 30, 0),  # BatchNorm without a scale
        ("Xception", None, 71, "block14_sepconv1", 2),  # separable convolutions stay as they are
        ("DenseNet121", None, 32, "conv5_block16_0_bn", 2),  # BatchNorm before a convolution, and at the end
    ],
)
def test_folding_batch_norm_changes_no_output_and_no_gradient(
    name: str, alpha: float | None, side: int, cut: str | int, unfolded: int
) -> None:
    import keras
    import tensorflow as tf

    loaded = build.build(name, alpha, side, "random", 0)
    cut = cuts.named(cuts.derive(loaded.model), cut)
    assemble.unfreeze(loaded, cut)
    crossing = cuts.boundary(loaded.model, cut)
    plain = keras.Model(crossing, loaded.model.outputs[0])
    norms = [layer for layer in plain.layers if isinstance(layer, keras.layers.BatchNormalization)]
    rng = np.random.default_rng(0)
    for norm in norms:
        for variable in norm.weights:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    folded = fold(plain)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    assert sum(type(layer).__name__ == "Affine" for layer in folded.layers) == unfolded
    assert len(norms) >= max(unfolded, 1)
    assert {id(v) for v in folded.trainable_variables} == {id(v) for v in plain.trainable_variables}

    x = tf.constant(rng.random((3, *crossing.shape[1:]), np.float32))
    found = []
    for model in (plain, folded):
        with tf.GradientTape() as tape:
            y = model(x, training=False)
            loss = tf.reduce_mean(tf.square(y))
        variables = plain.trainable_variables
        found.append([y, *tape.gradient(loss, [v.value for v in variables])])
    for before, after in zip(*found, strict=True):
        scale = float(np.abs(before).max())
        assert scale > 0
        np.testing.assert_allclose(after, before, atol=1e-4 * scale)


def test_folded_batch_norm_is_a_constant_to_the_last_bit() -> None:
    """As NumPy computes it in float64, where root and division are exact on every processor."""
    import keras

    rng = np.random.default_rng(0)
    inputs = keras.Input((4, 4, 2000))
    norm = keras.layers.BatchNormalization(name="norm")
    network = keras.Model(inputs, norm(keras.layers.ReLU()(inputs)))
    for variable in norm.weights:
        variable.assign(rng.uniform(0.01, 9, variable.shape))
    assert fold(network).get_layer("norm") is norm, "trainable"
    norm.trainable = False
    gamma, beta, mean, variance = (weight.astype(np.float64) for weight in norm.get_weights())
    scale = gamma / np.sqrt(variance + 1e-3)
    affine = fold(network).get_layer("norm")
    assert np.array_equal(affine.scale.ravel(), scale.astype(np.float32))
    assert np.array_equal(affine.offset.ravel(), (beta - mean * scale).astype(np.float32))


def _weight(model: Any, path: str) -> np.ndarray:
    return next(w.numpy() for w in model.weights if w.path == path)


SAVE = """
import sys, numpy as np
from dataclasses import replace
from pathlib import Path
from graft.backbones import build, cuts
from graft.models import assemble, heads, saving
if sys.argv[2] == "noise":
    import keras
    keras.layers.Dense(3)(np.ones((1, 2))); np.ones(10_000)
loaded = build.build("MobileNetV2", 0.35, 32, "random", 0)
loaded = replace(loaded, row=replace(loaded.row, preprocessing="caffe"))
head = heads.build("mlp", {"pooling": "avg", "hidden_units": [8], "dropout": 0.1}, loaded.model.output_shape[-1:], 4, 1)
model = assemble.classifier(loaded, "avg", head)
model.compile("adam", "categorical_crossentropy")
cut = cuts.named(cuts.derive(loaded.model), 30)
assemble.unfreeze(loaded, cut)
if sys.argv[2] == "noise":
    assemble.above(model, cut)
saving.save(model, Path(sys.argv[1]), np.zeros((2, 32, 32, 3), np.float32))
"""


@pytest.mark.slow
def test_the_same_model_is_the_same_bytes_from_two_processes(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SAVE, str(tmp_path / f"{name}.keras"), noise],
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, noise in (("a", "quiet"), ("b", "noise"))
    ]
    for process in started:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"a.keras", "b.keras"}


@pytest.mark.slow
def test_a_saved_model_loads_without_graft(tmp_path: Path) -> None:
    """All preprocessing, and the means of all layers, are plain Keras: another team needs no graft for the file."""
    example = pixels(2).astype(np.float32)
    loaded = build.build("MobileNetV2", 0.35, 32, "random", 0)
    kinds = {kind: replace(loaded, row=replace(loaded.row, preprocessing=kind)) for kind in ("tf", "caffe", "torch")}
    for name, one in (kinds | {"taps": replace(loaded, model=taps.joined(loaded.model, "avg"))}).items():
        model = assemble.classifier(one, "avg", head("linear", one.model.output_shape[-1:]))
        saving.save(model, tmp_path / f"{name}.keras", example)
        np.save(tmp_path / f"{name}.npy", np.asarray(model(example)))
    np.save(tmp_path / "example.npy", example)
    script = (
        "import sys, keras, numpy as np, pathlib\n"
        "folder = pathlib.Path(sys.argv[1]); x = np.load(folder / 'example.npy')\n"
        "for file in sorted(folder.glob('*.keras')):\n"
        "    got = np.asarray(keras.models.load_model(file)(x))\n"
        "    assert np.allclose(got, np.load(file.with_suffix('.npy')), atol=1e-5), file\n"
        "assert not any(name.startswith('graft') for name in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stderr


def test_a_saved_model_holds_no_date_and_no_optimizer(tmp_path: Path) -> None:
    model = head("linear", (16,))
    model.compile("adam", "categorical_crossentropy")
    saving.save(model, tmp_path / "head.keras", np.zeros((1, 16), np.float32))
    with zipfile.ZipFile(tmp_path / "head.keras") as archive:
        assert b"date_saved" not in archive.read("metadata.json")
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert b"adam" not in archive.read("config.json").lower()


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(StaleError, match=r"none\.keras: must be a Keras model .* Run `dvc repro`"):
        saving.load(tmp_path / "none.keras")
    (tmp_path / "text.keras").write_text("x")
    with pytest.raises(StaleError, match=r"text\.keras: must be a Keras model"):
        saving.load(tmp_path / "text.keras")


@pytest.mark.parametrize("at_input", [False, True])
def test_what_is_no_layer_is_part_of_a_model_too(at_input: bool) -> None:
    """RGB becomes BGR by a bare operation: what is taken apart for training and for the gates has it."""
    alone = build.build("VGG16", None, 32, "random", 0)
    cut = next(iter(cuts.crossing(alone.model))) if at_input else "block5_conv3"
    classifier = assemble.classifier(alone, "avg", head("linear", (512,)))
    x = pixels().astype(np.float32)
    expected = np.asarray(classifier(x))
    assert cuts.is_input(alone.model, cut) == at_input
    _, predicted, *crossing = (np.asarray(one) for one in assemble.opened(classifier, None if at_input else cut)(x))
    np.testing.assert_allclose(predicted, expected, atol=1e-6)
    assemble.unfreeze(alone, cut)
    above = assemble.above(classifier, cut)
    np.testing.assert_allclose(shards.predict(above, x if at_input else crossing[0]), expected, atol=1e-6)
