"""From a row of the table to a network with weights, and from pixels to what it expects."""

from __future__ import annotations

import hashlib
import re
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.backbones import cuts, text
from graft.backbones.encoders import ENCODERS, Encoder
from graft.backbones.table import Backbone, get, keras_models
from graft.errors import BackboneError

if TYPE_CHECKING:
    import keras

    from graft.config.schema import BackboneParams

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_BGR_MEAN = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class Loaded:
    """A built backbone.

    model: (n, side, side, 3) float32 as `preprocess` returns it -> the last feature map (n, h, w, c); of a text network
        tokens (n, length, 2) -> (n, length, width), as `text` has them.
    weights_sha256: over every weight's shape and bytes, in order: the same however the file was packed.
    """

    row: Backbone | Encoder
    model: keras.Model
    weights_sha256: str


def build(name: str, alpha: float | None, input_size: int, weights: str, random_seed: int) -> Loaded:
    """Build `name` at (input_size, input_size, 3) and load its weights.

    weights: bundled, imagenet, random (drawn from `random_seed`), none (of a row without a network), or the path of a
        weights file.
    A text network has but a name and weights: a folder, or a preset of KerasHub's.
    Raises BackboneError where they cannot be had, with what to do about it.
    """
    import keras

    if name in ENCODERS:
        keras.backend.clear_session(free_memory=False)
        keras.utils.set_random_seed(random_seed)
        encoder = text.encoder(ENCODERS[name], weights)
        return Loaded(ENCODERS[name], encoder, digest(encoder))
    row = get(name)
    # Keras counts layers without a name of their own: the first one is called the same in every build, as cuts are.
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(random_seed)
    model = _build(row, alpha, input_size, "imagenet" if weights == "imagenet" else None)
    if weights == "bundled":
        if row.bundled is None:
            raise BackboneError(f"backbone.weights: {name} has no bundled weights. Use imagenet, random or a file.")
        if _sha256(row.bundled.path) != row.bundled.sha256:
            raise BackboneError(
                f"{row.bundled.path}: must have sha256 {row.bundled.sha256}. It was changed; reinstall graft."
            )
        _load_file(model, row.bundled.path)
    elif weights not in ("imagenet", "random", "none"):
        _refuse_official_by_hand(row, Path(weights))
        _load_file(model, Path(weights))
    return Loaded(row, model, digest(model))


def of(backbone: BackboneParams) -> Loaded:
    """Build the network of params.yaml `backbone`."""
    return build(backbone.name, backbone.width, backbone.input_size, backbone.weights, backbone.random_seed)


def _build(row: Backbone, alpha: float | None, input_size: int, weights: str | None) -> keras.Model:
    import keras

    if not row.is_network:
        return _without_layers(row, input_size)
    builder = getattr(keras.applications, row.name)
    arguments: dict[str, Any] = {"include_top": False, "weights": weights, "input_shape": (input_size, input_size, 3)}
    if row.alphas:
        arguments["alpha"] = alpha
    try:
        return builder(**arguments)
    except ValueError as error:
        raise BackboneError(f"backbone: {row.name} cannot be built. {error}") from None
    except Exception as error:
        # keras.utils.get_file raises a bare Exception that names the address.
        if "fetch" not in str(error):
            raise
        match = re.search(r"(https?://\S+)/([^/\s]+\.h5)", str(error))
        file = match.group(2) if match else row.weights_glob
        raise BackboneError(
            f"backbone.weights: imagenet needs the file {file} of {row.name}, which is not in {keras_models()} "
            f"and could not be downloaded ({str(error).split(' -- ')[-1]}). Download it where there is a network "
            f"and put it there (KERAS_HOME moves the folder), or set backbone.weights to bundled, random or a file."
        ) from None


def _without_layers(row: Backbone, input_size: int) -> keras.Model:
    """(n, side, side, 3) -> the same, or the mean of its colours, (n, side, side, 1)."""
    import keras

    inputs = keras.Input((input_size, input_size, 3))
    outputs = inputs if row.feature_dim == 3 else keras.ops.mean(inputs, axis=-1, keepdims=True)
    return keras.Model(inputs, keras.layers.Identity(name="as_they_are")(outputs), name=f"{row.name.lower()}_alone")


def _load_file(model: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise BackboneError(f"backbone.weights: must be an existing file. Got {str(path)!r}.")
    # Keras warns and leaves a layer as it was where an older or partial file lacks it: that must not pass.
    for variable in model.weights:
        variable.assign(np.full(variable.shape, np.nan))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.load_weights(path)
        unset = [variable.path for variable in model.weights if np.isnan(variable.numpy()).any()]
        if unset:
            raise ValueError(f"{len(unset)} of {len(model.weights)} weights are not in the file, {unset[0]} first")
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, EOFError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BackboneError(
            f"backbone.weights: {path} does not fit {model.name} without top at this alpha, or is damaged: {reason}"
        ) from None


def _refuse_official_by_hand(row: Backbone, path: Path) -> None:
    """Keras builds EfficientNet with one more rescaling for its own files than for any other."""
    if row.scale_depends_on_weights and Path(path).match(row.weights_glob):
        raise BackboneError(
            f"backbone.weights: {path} looks like the official file of {row.name}, which Keras reads right only as "
            "weights: imagenet. Put it into the models folder under KERAS_HOME and set backbone.weights: imagenet."
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(model: keras.Model) -> str:
    """sha256 of the shapes and float32 bytes of all weights, in the model's order."""
    state = hashlib.sha256()
    for variable in model.weights:
        value = np.ascontiguousarray(variable.numpy())
        state.update(f"{value.shape}{value.dtype}".encode())
        state.update(value.tobytes())
    return state.hexdigest()


def preprocess(row: Backbone | Encoder, x: Any) -> Any:
    """Pixels (n, h, w, 3) in [0, 255] as a Keras tensor -> what the network was trained on.

    Built of Keras's own layers and operations, so that a saved model loads without graft.
    Formulas: keras.applications.imagenet_utils.preprocess_input, modes tf, torch and caffe.
    """
    import keras

    layers = keras.layers
    if row.preprocessing in ("built-in", "tokens"):
        return x
    if row.preprocessing == "unit":
        return layers.Rescaling(1 / 255, name="preprocess")(x)
    if row.preprocessing == "tf":
        return layers.Rescaling(1 / 127.5, offset=-1.0, name="preprocess")(x)
    if row.preprocessing == "torch":
        mean = [255 * m for m in IMAGENET_MEAN]
        variance = [(255 * s) ** 2 for s in IMAGENET_STD]
        return layers.Normalization(mean=mean, variance=variance, name="preprocess")(x)
    bgr = keras.ops.flip(x, axis=-1)
    return layers.Normalization(mean=list(CAFFE_BGR_MEAN), variance=[1.0] * 3, name="preprocess")(bgr)


FEATURES, ACTIVATIONS = "features", "activations"
"""What a frozen network gives: its last feature map, pooled; and what crosses at a cut."""


def feature_model(
    backbone: Loaded, pooling: str | None, cut: str | None = None, wanted: Sequence[str] = (FEATURES,)
) -> keras.Model:
    """Pixels (n, side, side, 3) in [0, 255] -> an output for each of `wanted`, in its order.

    FEATURES: (n, c) for pooling avg or max, or where the network's output is pooled already (`taps.joined`); else
    (n, h, w, c). ACTIVATIONS: (n, h, w, c) that cross at `cut`. Of a text network, whose input is tokens
    (n, length, 2): (n, c), and (n, length, c).
    Always in inference mode: no BatchNorm statistic moves, no dropout or stochastic depth is drawn. Layers that no
    output needs are left out.
    """
    import keras

    name = "tokens" if isinstance(backbone.row, Encoder) else "pixels"
    inputs = keras.Input(backbone.model.input_shape[1:], name=name)
    pixels = preprocess(backbone.row, inputs)
    network = backbone.model
    if tuple(wanted) != (FEATURES,):
        ends = {FEATURES: lambda: network.output, ACTIVATIONS: lambda: cuts.boundary(network, cut or "")}
        network = keras.Model(network.input, [ends[name]() for name in wanted])
    found = network(pixels, training=False)
    outputs = dict(zip(wanted, found if isinstance(found, list) else [found], strict=True))
    if FEATURES in outputs and pooling is not None and len(outputs[FEATURES].shape) == 3:
        sequence = keras.Input(outputs[FEATURES].shape[1:])
        outputs[FEATURES] = keras.Model(sequence, text.pooled(sequence, pooling), name="pooled")(outputs[FEATURES])
    if FEATURES in outputs and pooling is not None and len(outputs[FEATURES].shape) == 4:
        layers = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}
        outputs[FEATURES] = layers[pooling](name="pooled")(outputs[FEATURES])
    return keras.Model(
        inputs, list(outputs.values()) if len(outputs) > 1 else next(iter(outputs.values())), name="features"
    )
