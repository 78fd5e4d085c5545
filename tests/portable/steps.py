"""Print a hash of what ten steps of training make of a few networks, `numerics: portable`.

The same lines come out on every x86-64 processor with AVX2 and with any number of threads:

    python tests/portable/steps.py --threads 4
    PYTHONPATH=src qemu-x86_64 -cpu Haswell $(which python) tests/portable/steps.py

--approximate puts TensorFlow's reciprocal square root back where graft avoids it: then they differ between processors.
Names of cases choose some of them.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from graft.runtime.computing import numerics

VALUES = {
    "optimizer": "adam",
    "learning_rate": 0.001,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "clip_norm": 1.0,
    "schedule": "cosine",
    "warmup_steps": 2,
    "decay_to": 0.1,
    "batch_size": 32,
    "dtype_policy": "float32",
    "epochs": None,
    "steps": 10,
    "steps_per_epoch": None,
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "monitor": "val_loss",
    "early_stopping_patience": None,
    "early_stopping_min_delta": 0.0,
    "refit": False,
}
N, N_VALIDATED, N_CLASSES = 70, 45, 4
"""Examples to train on, whose last batch of an epoch has 6, and others to validate on, more than one chunk of them."""


def head() -> Any:
    from graft.models import heads

    return heads.build("linear", {"pooling": "avg", "dropout": 0.2}, (448,), N_CLASSES, 1)


def finetune() -> Any:
    """The upper layers of a MobileNetV2, its BatchNorm frozen, with a head."""
    from graft.backbones import build
    from graft.models import assemble, heads

    loaded = build.build("MobileNetV2", 0.35, 96, "bundled", 0)
    top = heads.build("linear", {"pooling": "avg", "dropout": 0.2}, (1280,), N_CLASSES, 1)
    assemble.unfreeze(loaded, "block_13_expand")
    return assemble.above(assemble.classifier(loaded, "avg", top), "block_13_expand")


def cnn() -> Any:
    """From scratch, with BatchNorm that is trained: one in the network, one in a network inside."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    inner_inputs = keras.Input((8, 8, 8))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(inner_inputs)
    x = layers.ReLU(name="relu_2")(layers.BatchNormalization(name="norm_2", scale=False)(x))
    inner = keras.Model(inner_inputs, x, name="inner")
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.ReLU(name="relu_1")(layers.BatchNormalization(name="norm_1")(x))
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(name="pool")(inner(x)))
    x = layers.Dropout(0.3, name="dropout", seed=3)(x)
    return keras.Model(inputs, layers.Dense(N_CLASSES, activation="softmax", name="probabilities")(x), name="cnn")


def layer_norm() -> Any:
    """As in a ConvNeXt: depthwise convolution, LayerNormalization, GELU; one of them in a Sequential."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 12))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(inputs)
    x = layers.LayerNormalization(epsilon=1e-6, name="norm_1")(x)
    x = layers.Dense(24, activation="gelu", name="expand")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.Sequential([layers.LayerNormalization(name="norm_2"), layers.Dense(8, name="inner")], name="stem")(x)
    return keras.Model(inputs, layers.Dense(N_CLASSES, activation="softmax", name="probabilities")(x), name="norm")


CASES: dict[str, Callable[[], Any]] = {"head": head, "finetune": finetune, "cnn": cnn, "layer_norm": layer_norm}


def steps(model: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights and history after ten steps, and predictions: of activations that are random but always the same."""
    from graft.config.schema import Optimization
    from graft.training import shards
    from graft.training.batches import Examples
    from graft.training.fit import fit

    rng = np.random.default_rng(0)
    inputs = np.maximum(rng.standard_normal((N + N_VALIDATED, *model.input_shape[1:]), np.float32), 0)
    targets = rng.integers(0, N_CLASSES, len(inputs))
    weights = rng.uniform(0.5, 2, len(inputs)).astype(np.float32)

    def examples(rows: np.ndarray) -> Examples:
        return Examples(rows, targets[rows], weights[rows])

    history = fit(
        model,
        Optimization(**VALUES),  # type: ignore[arg-type]
        0,
        N_CLASSES,
        examples(np.arange(N)),
        lambda rows, epoch: inputs[rows],
        examples(np.arange(N, len(inputs))),
        lambda rows, epoch: inputs[rows],
    )
    predicted = [shards.predict(model, inputs), shards.predict(model, inputs[:3])]
    return [weight.numpy() for weight in model.weights], [history.to_numpy(np.float64), *predicted]


def digest(arrays: list[np.ndarray]) -> str:
    state = hashlib.sha256()
    for array in arrays:
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:16]


def approximate() -> None:
    """What graft did before: the root in the folded BatchNorm, and TensorFlow's rewriting of graphs."""
    import tensorflow as tf

    from graft.models import fold
    from graft.runtime.computing import tensorflow as runtime

    def affine(norm: Any) -> tuple[np.ndarray, np.ndarray]:
        scale = tf.math.rsqrt(norm.moving_variance + norm.epsilon) * (norm.gamma if norm.scale else 1.0)
        offset = -norm.moving_mean * scale + (norm.beta if norm.center else 0.0)
        return scale.numpy(), offset.numpy()

    fold._affine = affine
    runtime.EXACT.clear()


def divide(devices: int) -> None:
    """Let the processor be so many devices, before the first computation."""
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * devices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="of " + ", ".join(CASES))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--devices", type=int, default=1, help="logical CPUs, which stand for as many GPUs")
    parser.add_argument("--approximate", action="store_true")
    arguments = parser.parse_args()
    numerics.apply("portable")
    from graft.runtime.computing import tensorflow

    tensorflow.import_tensorflow()
    if arguments.approximate:
        approximate()
    tensorflow.configure(arguments.threads)
    divide(arguments.devices)
    for name in arguments.cases or CASES:
        weights, results = steps(CASES[name]())
        print("STEPS", name, digest(weights), digest(results), flush=True)


if __name__ == "__main__":
    main()
