"""Networks on shards: what Keras computes on the whole batch, to the bit the same with any number of threads."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import REPOSITORY
from graft.models import heads
from graft.runtime.computing.exact import EXACT
from graft.training import optimizers, shards

sys.path.append(str(Path(__file__).parent / "portable"))
import steps

from test_training import values

STEPS = REPOSITORY / "tests" / "portable" / "steps.py"


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_same_bytes_with_one_and_four_threads() -> None:
    """Weights, history and predictions of a head, a fine-tuned network, BatchNorm from scratch, LayerNormalization."""
    found = [run(str(STEPS), "--threads", str(threads)) for threads in (1, 4)]
    assert found[0].count("STEPS") == len(steps.CASES)
    assert found[0] == found[1]


GELU_SIDE_BY_SIDE = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import steps
from graft.runtime.computing import numerics, tensorflow
from graft.training import shards
numerics.apply("portable")
tensorflow.import_tensorflow()
tensorflow.configure(4)
model = steps.CASES["layer_norm"]()
inputs = np.random.default_rng(0).standard_normal((4 * shards.CHUNK, *model.input_shape[1:]), np.float32)
print("STEPS", len({shards.predict(model, inputs).tobytes() for _ in range(60)}))
"""


@pytest.mark.slow
def test_chunks_side_by_side_have_the_same_gelu() -> None:
    """A layer has another activation during a call, while other threads call it: half of them saw the wrong one."""
    assert run("-c", GELU_SIDE_BY_SIDE, str(STEPS.parent)) == "STEPS 1\n"


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """TensorFlow's rewriting of graphs as graft's stages have it."""
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(EXACT)
    yield
    tf.config.optimizer.set_experimental_options(dict.fromkeys(EXACT, True) | before)


def without_dropout(model: Any) -> Any:
    for layer in model._flatten_layers():
        if hasattr(layer, "rate"):
            layer.rate = 0.0
    return model


def on_shards(model: Any, x: Any, training: bool) -> Any:
    import tensorflow as tf

    @tf.function
    def forward(x: Any) -> Any:
        return tf.concat(shards.apply(model, shards.cut(x, shards.count(len(x))), training), 0)

    return forward(tf.constant(x))


@pytest.mark.parametrize("case", steps.CASES)
@pytest.mark.parametrize("n", [1, *(pytest.param(n, marks=pytest.mark.long) for n in (2, 3)), 13])
def test_a_step_on_shards_is_keras_on_the_whole_batch(case: str, n: int) -> None:
    """Outputs, loss, gradients with weights, and BatchNorm's moving averages; of a few examples too."""
    import keras
    import tensorflow as tf

    model = without_dropout(steps.CASES[case]())
    rng = np.random.default_rng(n)
    x = tf.constant(rng.standard_normal((n, *model.input_shape[1:]), np.float32))
    y = tf.one_hot(rng.integers(0, steps.N_CLASSES, n), steps.N_CLASSES)
    w = tf.constant(rng.dirichlet(np.ones(n)).astype(np.float32))
    before = model.get_weights()

    def step(forward: Callable[[Any], Any]) -> list[np.ndarray]:
        model.set_weights(before)
        variables = [variable.value for variable in model.trainable_variables]

        @tf.function
        def run() -> Any:
            with tf.GradientTape() as tape:
                output = forward(x)
                loss = tf.reduce_sum(w * keras.losses.categorical_crossentropy(y, output))
            return [output, loss, *tape.gradient(loss, variables)]

        results = [value.numpy() for value in run()]
        return results + [weight.numpy() for weight in model.non_trainable_weights]

    whole = step(lambda x: model(x, training=True))
    sharded = step(lambda x: tf.concat(shards.apply(model, shards.cut(x, shards.count(n)), training=True), 0))
    for expected, got in zip(whole, sharded, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * max(1, float(np.abs(expected).max())))
    if case == "cnn":
        assert any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("shape", [(5,), (4, 3, 6)])
def test_batch_norm_over_all_shards(axis: int, shape: tuple[int, ...]) -> None:
    """Trained: statistics of the whole batch, one step of the moving averages. Frozen: neither."""
    import keras

    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (11, *shape)).astype(np.float32)
    layer = keras.layers.BatchNormalization(axis=axis, momentum=0.9)
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in layer.get_weights()])
    start = layer.get_weights()

    expected, moved = np.asarray(layer(x, training=True)), layer.get_weights()
    layer.set_weights(start)
    np.testing.assert_allclose(on_shards(model, x, training=True), expected, atol=1e-5)
    for got, wanted in zip(layer.get_weights(), moved, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)

    layer.set_weights(start)
    layer.trainable = False
    np.testing.assert_allclose(on_shards(model, x, training=True), np.asarray(layer(x, training=False)), atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), start, strict=True))


def test_dropout_is_drawn_for_each_shard_and_step() -> None:
    """And not where a network was put in as one for inference."""
    import keras

    inputs = keras.Input((500,))
    inner = keras.Model(inputs, keras.layers.Dropout(0.5, seed=1)(inputs))
    x = np.ones((8, 500), np.float32)
    first, second = (np.asarray(on_shards(inner, x, training=True)) for _ in range(2))
    assert set(np.unique(first)) == {0.0, 2.0}
    assert 0.45 < (first == 0).mean() < 0.55
    assert len({part.tobytes() for part in [*first, *second]}) == 16
    assert np.array_equal(on_shards(inner, x, training=False), x)
    outer = keras.Model(inputs, inner(inputs, training=False))
    assert np.array_equal(on_shards(outer, x, training=True), x)


def test_shards_are_contiguous_and_of_sizes_that_the_batch_decides() -> None:
    import tensorflow as tf

    for n in range(1, 40):
        parts = [part.numpy() for part in shards.cut(tf.range(n), shards.count(n))]
        assert len(parts) == min(n, shards.SHARDS)
        assert all(map(len, parts))
        assert np.array_equal(np.concatenate(parts), np.arange(n))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("n", [0, 1, shards.CHUNK, shards.CHUNK + 1, 3 * shards.CHUNK])
def test_predictions_in_chunks(n: int) -> None:
    model = heads.build("linear", {"pooling": "avg", "dropout": 0.5}, (6,), 3, 1)
    x = np.random.default_rng(0).standard_normal((n, 6), np.float32)
    got = shards.predict(model, x)
    assert (got.shape, got.dtype) == ((n, 3), np.float32)
    if n:
        np.testing.assert_allclose(got, np.asarray(model(x)), atol=1e-6)


def operations(function: Callable[[], Any]) -> tuple[Any, Counter[str]]:
    """What a tf.function gives, and the operations that TensorFlow really ran for it, after its rewriting."""
    from tensorflow.python.eager import context

    context.enable_run_metadata()
    try:
        result = function()
        graphs = [part.post_optimization_graph for part in context.export_run_metadata().function_graphs]
    finally:
        context.disable_run_metadata()
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for function in graph.library.function for node in function.node_def]
    return result, Counter(node.op for node in nodes)


APPROXIMATE = {"Rsqrt", "RsqrtGrad", "Reciprocal", "Inv", "Erfc", "_UnaryOpsComposition", "FusedBatchNormV3"}
"""Operations whose late digits are another processor's choice."""


@pytest.mark.long
@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamw", "nadam", "lion"])
def test_no_optimizer_approximates(name: str) -> None:
    """On a network with LayerNormalization in training, and, with one optimizer, on one with BatchNorm."""
    import tensorflow as tf

    for case in ("cnn", "layer_norm") if name == "adamw" else ("layer_norm",):
        model = steps.CASES[case]()
        optimizer = optimizers.build(values(optimizer=name, weight_decay=0.01, schedule="cosine"), 10)
        optimizer.build(model.trainable_variables)
        x = tf.constant(np.random.default_rng(0).standard_normal((8, *model.input_shape[1:]), np.float32))

        @tf.function
        def step(model: Any = model, optimizer: Any = optimizer, x: Any = x) -> Any:
            with tf.GradientTape() as tape:
                loss = shards.added([tf.reduce_sum(part**2) for part in shards.apply(model, shards.cut(x, 4), True)])
            gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
            optimizer.apply(gradients, model.trainable_variables)
            return loss

        _, ran = operations(step)
        assert ran["Sqrt"]
        assert not APPROXIMATE & set(ran)


QUOTIENTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "x / sqrt(y)": lambda x, y, sqrt: x / sqrt(y),
    "1 / sqrt(y)": lambda x, y, sqrt: 1 / sqrt(y),
    "1 / y": lambda x, y, sqrt: 1 / y,
    "x / 3": lambda x, y, sqrt: x / 3,
}


@pytest.mark.parametrize("name", QUOTIENTS)
def test_rewriting_does_not_make_quotients_approximate(name: str) -> None:
    """With all that TensorFlow rewrites, each of them becomes a product with something approximated."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(50_000, np.float32), rng.uniform(1e-3, 100, 50_000).astype(np.float32)
    got = tf.function(lambda x, y: QUOTIENTS[name](x, y, tf.sqrt))(tf.constant(x), tf.constant(y))
    assert np.array_equal(got, QUOTIENTS[name](x, y, np.sqrt))


KERAS = """
from graft.runtime.computing import numerics, tensorflow
numerics.apply("portable")
tensorflow.start_tensorflow()
import keras, tensorflow as tf
c = keras.config
print(c.backend(), c.floatx(), c.epsilon(), c.image_data_format(), c.dtype_policy().name, end=" ")
print(c.max_epochs(), c.is_nnx_enabled())
print(tf.config.threading.get_intra_op_parallelism_threads())
"""


@pytest.mark.long
def test_what_keras_reads_around_it_changes_nothing(tmp_path: Path) -> None:
    settings = {
        "floatx": "float64",
        "epsilon": 0.1,
        "backend": "jax",
        "image_data_format": "channels_first",
        "nnx_enabled": True,
    }
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    said = run("-c", KERAS, KERAS_HOME=str(tmp_path), KERAS_BACKEND="torch", KERAS_MAX_EPOCHS="1")
    assert said.split("\n")[:2] == ["tensorflow float32 1e-07 channels_last float32 None False", "1"]


@pytest.fixture
def collecting() -> Iterator[None]:
    """Garbage is collected as often as Python does by itself; the suite lets it lie longer."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_what_nobody_reads_any_more_is_let_go(collecting: None) -> None:
    """Of a deep network few feature maps are held at once, those that are read again later among them."""
    import keras
    import tensorflow as tf

    seen: list[weakref.ref[Any]] = []
    alive: list[int] = []

    class Watched(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            seen.append(weakref.ref(x))
            alive.append(sum(one() is not None for one in seen))
            return x + 1.0

    inputs = keras.Input((4,))
    x = early = Watched()(inputs)
    for _ in range(20):
        x = Watched()(x)
    network = keras.Model(inputs, [keras.layers.Add()([x, early]), x])
    first, second = shards.outputs(network, [tf.zeros((2, 4))])
    assert float(first[0, 0]) == 22
    assert float(second[0, 0]) == 21
    assert max(alive) <= 12  # of 21; what Keras refers to in circles goes with the next collection


def test_no_operation_runs_twice_at_once() -> None:
    """TensorFlow's kernels of oneDNN give wrong values then: neither chunks of one call overlap, nor calls."""
    import threading
    import time

    import keras

    running, most = [], []

    class Watched(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            if isinstance(x, keras.KerasTensor):
                return x
            running.append(1)
            most.append(len(running))
            time.sleep(0.005)
            running.pop()
            return x

    inputs = keras.Input((3,))
    model = keras.Model(inputs, Watched()(inputs))
    x = np.ones((5 * shards.CHUNK, 3), np.float32)
    threads = [threading.Thread(target=shards.predict, args=(model, x)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) >= 15  # and once as the model is made
    assert max(most) == 1


def test_calls_side_by_side_have_graphs_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tensorflow engine runs on several threads: what they give is what one gives."""
    from concurrent.futures import ThreadPoolExecutor

    import keras

    from graft.features.engines import tensorflow as engine

    monkeypatch.setenv("GRAFT_THREADS", "3")
    made = []
    copy = engine._copy
    monkeypatch.setattr(engine, "_copy", lambda graph: made.append(copy(graph)) or made[-1])
    inputs = keras.Input((8, 8, 3), name="pixels")
    network = keras.Model(inputs, [keras.layers.Conv2D(4, 3, name="c")(inputs), keras.layers.Flatten()(inputs)])
    forward = engine.forward(network, {"pixels": ((8, 8, 3), "uint8")}, "float32", False)
    assert len(made) == 2
    batches = [np.random.default_rng(i).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8) for i in range(12)]
    expected = [[np.asarray(one) for one in network(batch.astype(np.float32))] for batch in batches]
    with ThreadPoolExecutor(5) as pool:
        got = list(pool.map(lambda batch: forward.run({"pixels": batch}), batches))
    for a, b in zip(got, expected, strict=True):
        assert len(a) == len(b) == 2
        for one, other in zip(a, b, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
