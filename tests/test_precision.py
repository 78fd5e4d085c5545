"""`dtype_policy: mixed_bfloat16`: steps in bfloat16, of a model that is float32 before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import text_network
import vision_network
from conftest import params_of
from graft.backbones import encoders, networks
from graft.models import assemble, heads, saving
from graft.training import precision, shards
from test_shards import steps, without_dropout
from test_training import train, values

MIXED = "mixed_bfloat16"
N_CLASSES = 4


def step(model: Any, inputs: np.ndarray, dtype_policy: str) -> tuple[list[np.ndarray], Any]:
    """Outputs and gradients of a step on shards, and its graph."""
    import keras
    import tensorflow as tf

    wanted = tf.one_hot(np.arange(len(inputs)) % N_CLASSES, N_CLASSES)

    @tf.function(autograph=False)
    def run(x: Any) -> Any:
        with precision.computing(model, dtype_policy), tf.GradientTape() as tape:
            output = tf.concat(shards.apply(model, shards.cut(x, shards.count(len(inputs))), training=True), 0)
            loss = tf.reduce_sum(keras.losses.categorical_crossentropy(wanted, output))
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        return [output, *map(tf.convert_to_tensor, gradients)]

    made = run.get_concrete_function(tf.TensorSpec((None, *inputs.shape[1:])))
    return [value.numpy() for value in made(tf.constant(inputs))], made.graph


def dtypes(graph: Any, *kinds: str) -> list[str]:
    """Of the outputs of these operations."""
    return [one.outputs[0].dtype.name for one in graph.get_operations() if one.type in kinds]


def require_alike(model: Any, inputs: np.ndarray) -> Any:
    """A step in bfloat16 is one in float32 within what bfloat16 can tell, 8 bits; returns its graph."""
    before = model.get_weights()
    (expected, _), (got, graph) = (step(model, inputs, policy) for policy in ("float32", MIXED))
    model.set_weights(before)
    assert {value.dtype.name for value in got} == {"float32"}
    assert not np.array_equal(got[0], expected[0])
    np.testing.assert_allclose(got[0], expected[0], atol=0.02)
    a, b = (np.concatenate([gradient.ravel() for gradient in one[1:]]) for one in (expected, got))
    assert a @ b > 0.98 * np.linalg.norm(a) * np.linalg.norm(b)
    assert 0.9 < np.linalg.norm(b) / np.linalg.norm(a) < 1.1
    assert {layer.dtype_policy.name for layer in model._flatten_layers()} == {"float32"}
    return graph


@pytest.mark.parametrize("case", ["finetune", "cnn", "layer_norm"])
def test_a_step_is_like_one_in_float32(case: str) -> None:
    """A MobileNetV2 with BatchNorm folded, BatchNorm from scratch, LayerNormalization with GELU."""
    model = without_dropout(steps.CASES[case]())
    inputs = np.random.default_rng(0).standard_normal((12, *model.input_shape[1:]), np.float32)
    graph = require_alike(model, inputs)
    convolved = dtypes(graph, "Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropFilter", "Conv2DBackpropInput")
    assert set(convolved) == {"bfloat16"}
    assert set(dtypes(graph, "Softmax", "SquaredDifference", "Sqrt")) == {"float32"}


@pytest.mark.parametrize("where", ["block_1", pytest.param(encoders.FIRST, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["Bert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ViT", "DINOV3"))])
def test_blocks_of_transformers(tmp_path: Path, name: str, where: str) -> None:
    """From a block on, and from tokens or pixels on."""
    side = vision_network.SIDE
    folder = text_network.write(tmp_path) if name == "Bert" else vision_network.write_preset(tmp_path / name, name)
    given = {"backbone.name": name, "backbone.weights": str(folder), "backbone.input_size": side}
    loaded = networks.built(params_of(given | {"backbone.alpha": None}).backbone, "avg")
    head = heads.build("linear", {"pooling": "avg", "dropout": 0.0}, (16,), N_CLASSES, 0)
    model = assemble.classifier(loaded, "avg", head)
    assemble.unfreeze(loaded, where, True)
    above = without_dropout(assemble.above(model, where, True))
    rng = np.random.default_rng(0)
    shape = (12, *(size or 6 for size in above.input_shape[1:]))
    inputs = rng.standard_normal(shape) if where == "block_1" else rng.integers(1, 2 if name == "Bert" else 256, shape)
    if name == "Bert" and where == encoders.FIRST:
        inputs[..., 0] = rng.integers(1, len(text_network.WORD_PIECES), inputs.shape[:-1])
    graph = require_alike(above, inputs.astype(np.float32))
    products = dtypes(graph, "MatMul", "BatchMatMulV2", "Einsum")
    assert products.count("bfloat16") > products.count("float32") / 2


def test_numbers_of_tokens_are_not_rounded() -> None:
    """300 and 301 are one number in bfloat16."""
    import keras
    import tensorflow as tf

    inputs = keras.Input((1,))
    x = keras.ops.cast(keras.layers.Identity()(inputs), "int32")
    x = keras.layers.Flatten()(keras.layers.Embedding(400, 8)(x))
    model = keras.Model(inputs, keras.layers.Dense(N_CLASSES, activation="softmax")(x))
    with precision.computing(model, MIXED):
        one, other = np.asarray(shards.apply(model, [tf.constant([[300.0], [301.0]])], training=True)[0])
    assert not np.array_equal(one, other)


def test_it_learns_and_the_model_is_float32(tmp_path: Path) -> None:
    model = heads.build("mlp", {"pooling": "avg", "hidden_units": [16], "dropout": 0.0}, (6,), 3, 1)
    other = heads.build("mlp", {"pooling": "avg", "hidden_units": [16], "dropout": 0.0}, (6,), 3, 1)
    history, exact = (
        train(values(dtype_policy=policy, epochs=10), one) for policy, one in ((MIXED, model), ("float32", other))
    )
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    assert not np.array_equal(history["loss"], exact["loss"])
    np.testing.assert_allclose(history[["loss", "val_loss"]], exact[["loss", "val_loss"]], rtol=0.05, atol=0.02)
    example = np.ones((2, 6), np.float32)
    saving.save(model, tmp_path / "model.keras", example)
    read = saving.load(tmp_path / "model.keras")
    assert {weight.dtype for weight in read.weights} == {"float32"}
    assert {layer.dtype_policy.name for layer in read._flatten_layers()} == {"float32"}
    assert np.array_equal(shards.predict(read, example), shards.predict(model, example))
