"""What replaces the network's output layer. To add a head: a row here, its values in `params.Heads` and params.yaml.

Each builder takes features, (n, c) or (n, h, w, c), and returns the last hidden layer; `build` adds the
softmax. Layer names are fixed, so that the same head is saved as the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from graft.errors import TrainingError

if TYPE_CHECKING:
    import keras


def _pooled(x: Any, pooling: str) -> Any:
    """(n, h, w, c) -> (n, c), or (n, h*w*c) for flatten; vectors stay as they are."""
    import keras

    if len(x.shape) == 2:
        return x
    layers = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
        "flatten": keras.layers.Flatten,
    }
    return layers[pooling](name="pool")(x)


def linear(x: Any, p: Mapping[str, Any]) -> Any:
    import keras

    return keras.layers.Dropout(p["dropout"], name="dropout")(_pooled(x, p["pooling"]))


def mlp(x: Any, p: Mapping[str, Any]) -> Any:
    import keras

    x = _pooled(x, p["pooling"])
    for i, units in enumerate(p["hidden_units"], start=1):
        x = keras.layers.Dense(units, activation="relu", name=f"hidden_{i}")(x)
        x = keras.layers.Dropout(p["dropout"], name=f"dropout_{i}")(x)
    return x


def conv(x: Any, p: Mapping[str, Any]) -> Any:
    """Convolution, max-pooling, flatten, dense, dropout. padding: same keeps the size of the map, valid uses whole
    windows alone."""
    import keras

    if len(x.shape) != 4:
        raise TrainingError(
            f"train.head: conv reads unpooled feature maps, but the features are {tuple(x.shape[1:])}. "
            "Set extract.pooling: null and run `dvc repro`."
        )
    if p["padding"] == "valid" and min(x.shape[1:3]) < p["kernel_size"] + p["pool_size"] - 1:
        raise TrainingError(
            f"train.heads.conv.padding: must be same for feature maps of {x.shape[1]} x {x.shape[2]}, of which a "
            f"kernel of {p['kernel_size']} and a pool of {p['pool_size']} leave nothing. Got valid."
        )
    x = keras.layers.Conv2D(p["filters"], p["kernel_size"], padding=p["padding"], activation="relu", name="conv")(x)
    x = keras.layers.MaxPooling2D(p["pool_size"], padding=p["padding"], name="max_pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(p["hidden_units"], activation="relu", name="hidden")(x)
    return keras.layers.Dropout(p["dropout"], name="dropout")(x)


def solved(x: Any, p: Mapping[str, Any]) -> Any:
    return _pooled(x, p["pooling"])


HEADS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "linear": linear,
    "mlp": mlp,
    "conv": conv,
    "ridge": solved,
    "logistic": solved,
    "taps": solved,
}

LAST = "probabilities"
"""The name of every head's last layer."""


def build(
    name: str, values: Mapping[str, Any], feature_shape: tuple[int, ...], n_classes: int, seed: int
) -> keras.Model:
    """A head: (n, *feature_shape) float32 -> (n, n_classes) probabilities. Weights are drawn from `seed`."""
    import keras

    keras.utils.set_random_seed(seed)
    inputs = keras.Input(feature_shape, name="features")
    x = HEADS[name](inputs, values)
    outputs = keras.layers.Dense(n_classes, activation="softmax", name=LAST)(x)
    return keras.Model(inputs, outputs, name="head")
