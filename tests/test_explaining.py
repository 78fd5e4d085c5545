"""Grad-CAM: what the papers say it is, for every network and head, and in the right place."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graft.backbones import build, taps
from graft.backbones.table import BACKBONES
from graft.explaining import grad_cam
from graft.explaining.overlay import overlay
from graft.models import assemble, heads, saving
from graft.training import shards

HEADS: dict[str, dict[str, Any]] = {
    "linear": {"pooling": "avg", "dropout": 0.2},
    "mlp": {"pooling": "avg", "hidden_units": [8], "dropout": 0.2},
    "conv": {"filters": 4, "kernel_size": 3, "padding": "same", "pool_size": 2, "hidden_units": 8, "dropout": 0.5},
    "ridge": {"pooling": "avg"},
    "logistic": {"pooling": "avg"},
    "taps": {"pooling": "avg"},
}
SIDE, CLASSES = 32, 3


def tiny() -> build.Loaded:
    """Two convolutions, to a map of 8 x 8 x 12, whose channels differ from place to place."""
    import keras

    keras.utils.set_random_seed(2)
    inputs = x = keras.Input((SIDE, SIDE, 3))
    for width in (8, 12):
        x = keras.layers.Conv2D(width, 3, 2, "same", activation="relu", bias_initializer="random_normal")(x)
    return build.Loaded(BACKBONES["MobileNetV2"], keras.Model(inputs, x), "")


def real(name: str, side: int) -> build.Loaded:
    """A network of the table with random weights."""
    row = BACKBONES[name]
    return build.build(name, min(row.alphas, default=None), side, "random" if row.is_network else "none", 1)


def classifier(head: str, backbone: build.Loaded, pooling: str | None = "avg") -> Any:
    shape = build.feature_model(backbone, pooling).output_shape[1:]
    return assemble.classifier(backbone, pooling, heads.build(head, HEADS[head], shape, CLASSES, 1))


def of_all_taps() -> Any:
    backbone = tiny()
    return classifier("taps", replace(backbone, model=taps.joined(backbone.model, "avg")))


def pictures(n: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3)).astype(np.float32)


def scaled(heat: np.ndarray) -> np.ndarray:
    """The positive parts, each picture's highest as 1."""
    positive = np.maximum(heat, 0)
    return positive / np.maximum(positive.max(axis=(1, 2), keepdims=True), 1e-12)


@pytest.mark.parametrize("pooling", ["avg", None])
def test_it_is_cam_for_a_linear_head_on_average_pooling(pooling: str | None) -> None:
    """Zhou et al.: the map's channels by the class's weights, pooled by the backbone's model or by the head."""
    backbone, pixels, classes = tiny(), pictures(40), np.arange(40) % CLASSES
    model = classifier("linear", backbone, pooling)
    kernel = model.layers[-1].get_layer(heads.LAST).kernel.numpy()
    maps = shards.predict(backbone.model, pixels / 127.5 - 1)
    cam = scaled(np.einsum("nhwc,cn->nhw", maps, kernel[:, classes]))
    explained = grad_cam.GradCam(model)
    assert (explained.places, explained.limit) == ((8, 8), "")
    assert 0.1 < (cam > 0).mean() < 0.99
    np.testing.assert_allclose(explained.maps(pixels, classes), cam, atol=1e-5)


def test_the_gradient_is_that_of_the_logit() -> None:
    """Equations 1 and 2 by finite differences in float64, through a head that is no linear one."""
    backbone, pixels = tiny(), pictures(6)
    model = classifier("mlp", backbone)
    head = model.layers[-1]
    kernels = [layer.kernel.numpy().astype(np.float64) for layer in (head.get_layer("hidden_1"), head.layers[-1])]
    activations = shards.predict(backbone.model, pixels / 127.5 - 1).astype(np.float64)

    def logit(mean: np.ndarray) -> float:
        return float((np.maximum(mean @ kernels[0], 0) @ kernels[1])[2])

    step = 1e-6 * np.eye(activations.shape[-1])
    means = activations.mean(axis=(1, 2))
    slopes = np.array([[(logit(mean + one) - logit(mean - one)) / 2e-6 for one in step] for mean in means])
    expected = scaled(np.einsum("nhwc,nc->nhw", activations, slopes))
    np.testing.assert_allclose(grad_cam.GradCam(model).maps(pixels, np.full(6, 2)), expected, atol=1e-4)


def test_of_all_taps_the_last_map_is_asked() -> None:
    """The others are read beside it: by the weights that the head has for the last tap alone it is CAM again."""
    backbone, pixels, classes = tiny(), pictures(4), np.array([0, 1, 2, 0])
    model = of_all_taps()
    kernel = model.layers[-1].get_layer(heads.LAST).kernel.numpy()
    assert len(kernel) > 12
    maps = shards.predict(backbone.model, pixels / 127.5 - 1)
    cam = scaled(np.einsum("nhwc,cn->nhw", maps, kernel[-12:, classes]))
    np.testing.assert_allclose(grad_cam.GradCam(model).maps(pixels, classes), cam, atol=1e-5)


@pytest.mark.parametrize("head", heads.HEADS)
def test_every_head(head: str, tmp_path: Path) -> None:
    """Numbers in [0, 1], the same again and from the model's file; what the model predicts is as it was."""
    model = of_all_taps() if head == "taps" else classifier(head, tiny(), None if head == "conv" else "avg")
    pixels, classes = pictures(6), np.arange(6) % CLASSES
    before = shards.predict(model, pixels)
    heat = grad_cam.heat_maps(model, pixels, classes)
    assert (heat.shape, heat.dtype) == ((6, SIDE, SIDE), np.float32)
    assert heat.min() >= 0
    assert heat.max() > 0.9
    assert (grad_cam.heat_maps(model, pixels, classes) == heat).all()
    assert (shards.predict(model, pixels) == before).all()
    saving.save(model, tmp_path / "model.keras", pixels)
    assert (grad_cam.heat_maps(saving.load(tmp_path / "model.keras"), pixels, classes) == heat).all()


QUICK = {"VGG16"}
FAMILIES = {
    "MobileNet": 3, "MobileNetV2": 3, "MobileNetV3Small": 3, "ResNet50": 3, "ResNet50V2": 3, "EfficientNetB0": 3,
    "EfficientNetV2B0": 3, "DenseNet121": 3, "InceptionV3": 1, "InceptionResNetV2": 1, "Xception": 3, "VGG16": 6,
    "NASNetMobile": 3, "ConvNeXtTiny": 3,
}  # fmt: skip
"""A network of each family -> rows and columns of its last feature map at 96 pixels; VGG's before its last pooling."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in FAMILIES]
)
def test_every_family_of_backbones(name: str) -> None:
    explained = grad_cam.GradCam(classifier("linear", real(name, 96)))
    assert explained.places == (FAMILIES[name],) * 2
    heat = explained.heat_maps(np.repeat(pictures(1, 96), CLASSES, axis=0), np.arange(CLASSES))
    assert np.isfinite(heat).all()
    assert bool(explained.limit) == (FAMILIES[name] == 1)
    assert (heat.max() > 0.9) == (FAMILIES[name] > 1)


def test_one_place_localises_nothing_and_says_so() -> None:
    explained = grad_cam.GradCam(classifier("linear", real("MobileNetV3Small", 32)))
    assert explained.places == (1, 1)
    assert "one place for a picture of 32 x 32 pixels: nothing can be localised" in explained.limit
    assert (explained.heat_maps(pictures(2), np.array([0, 1])) == 0).all()


@pytest.mark.parametrize("name", ["Pixels", "GreyPixels"])
def test_of_pixels_alone_the_heads_convolution_is_looked_at(name: str) -> None:
    convolved = grad_cam.GradCam(classifier("conv", real(name, 28), None))
    assert convolved.places == (28, 28)
    assert convolved.heat_maps(pictures(3, 28), np.arange(3)).max() > 0.9
    plain = grad_cam.GradCam(classifier("linear", real(name, 28), None))
    assert plain.places == (0, 0)
    assert "no convolution" in plain.limit
    assert (plain.heat_maps(pictures(2, 28), np.array([0, 1])) == np.zeros((2, 28, 28))).all()


def test_what_is_no_question_is_refused() -> None:
    import keras

    explained = grad_cam.GradCam(classifier("linear", tiny()))
    assert explained.heat_maps(pictures(0), np.zeros(0, int)).shape == (0, SIDE, SIDE)
    with pytest.raises(ValueError, match=r"pixels: must be \(n, 32, 32, 3\)"):
        explained.maps(pictures(1, 96), np.array([0]))
    with pytest.raises(ValueError, match="classes: must be 1 numbers from 0 to 2"):
        explained.maps(pictures(1), np.array([3]))
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="last layer must be a Dense"):
        grad_cam.GradCam(keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)))


@pytest.fixture(scope="module")
def finds_red() -> tuple[Any, np.ndarray, np.ndarray]:
    """A network from scratch that was trained to tell a red square on noise from a blue one; test pictures of red
    squares, and where the squares are: (n, side, side, 3), (n, side, side) bool."""
    import keras

    rng = np.random.default_rng(3)
    side, square, n = 32, 8, 96
    pixels = rng.integers(60, 196, (n, side, side, 3)).astype(np.float32)
    where = np.zeros((n, side, side), bool)
    targets = np.arange(n) % 2
    for i, (top, left) in enumerate(rng.integers(0, side - square, (n, 2))):
        where[i, top : top + square, left : left + square] = True
        pixels[i][where[i]] = (230, 20, 20) if targets[i] == 0 else (20, 20, 230)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    for width in (8, 16):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(pixels[:64], targets[:64], batch_size=16, epochs=12, verbose=0, shuffle=False)
    held_out = np.arange(64, n)[targets[64:] == 0]
    assert (shards.predict(model, pixels[64:]).argmax(axis=1) == targets[64:]).mean() > 0.9
    return model, pixels[held_out], where[held_out]


def test_heat_is_where_the_evidence_is(finds_red: tuple[Any, np.ndarray, np.ndarray]) -> None:
    """The red square decides: asked about red, heat lies on it; asked about blue, it does not."""
    model, pixels, where = finds_red
    red = grad_cam.heat_maps(model, pixels, np.zeros(len(pixels), int))
    blue = grad_cam.heat_maps(model, pixels, np.ones(len(pixels), int))

    def share_inside(heat: np.ndarray) -> np.ndarray:
        return np.array([one[at].sum() / max(one.sum(), 1e-9) for one, at in zip(heat, where, strict=True)])

    hottest = [at[np.unravel_index(one.argmax(), one.shape)] for one, at in zip(red, where, strict=True)]
    covered = where.mean()
    assert np.mean(hottest) == 1
    assert share_inside(red).mean() > 5 * covered
    assert share_inside(blue).mean() < 2 * covered


def test_the_overlay_is_the_picture_with_its_heat() -> None:
    picture = np.full((40, 60, 3), 255, np.uint8)
    heat = np.zeros((4, 6), np.float32)
    heat[1, 4] = 1
    shown = np.asarray(Image.open(io.BytesIO(overlay(picture, heat))))
    assert shown.shape == picture.shape
    hot, cold = shown[15, 45].astype(int), shown[35, 5].astype(int)
    assert hot[1] - hot[2] > 80  # yellow
    assert cold[2] > cold[1]  # a violet tint
    assert cold.min() > 150  # over white that is still light
