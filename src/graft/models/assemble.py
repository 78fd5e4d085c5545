"""Backbone, pooling and head as one model on pixels; and the part of it that is trained.

pixels ── preprocess ── layers below the cut ──┬── layers from the cut on ── pooling ── head
                        (frozen, inference)    └ boundary: the one tensor that crosses
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.backbones import cuts
from graft.backbones.build import Loaded, feature_model
from graft.models.fold import fold

if TYPE_CHECKING:
    import keras


def classifier(backbone: Loaded, pooling: str | None, head: keras.Model) -> keras.Model:
    """Pixels (n, side, side, 3) in [0, 255] -> probabilities (n, n_classes). Shares the weights of both."""
    import keras

    features = feature_model(backbone, pooling)
    return keras.Model(features.inputs[0], head(features.outputs[0]), name="classifier")


def unfreeze(backbone: Loaded, cut: str | int | float | None) -> str:
    """Make the layers from `cut` on trainable, all below frozen; returns the cut layer's name.

    BatchNorm layers stay frozen, and so in inference mode (`BatchNormalization.trainable = False`):
    their statistics were learnt on far more images than a fine-tuning set has.
    """
    import keras

    name = cuts.named(cuts.derive(backbone.model), cut)
    reached = False
    backbone.model.trainable = True
    for layer in backbone.model.layers:
        reached = reached or layer.name == name
        layer.trainable = reached and not isinstance(layer, keras.layers.BatchNormalization)
    return name


def above(classifier: keras.Model, cut: str) -> keras.Model:
    """The part of a classifier from `cut` on: activations (n, h, w, c) float32 -> probabilities (n, n_classes).

    Shares the classifier's weights: training one trains the other. The backbone's BatchNorm is in inference mode.
    """
    import keras

    layers = classifier.layers
    place = next(i for i, layer in enumerate(layers) if isinstance(layer, keras.Model))
    crossing = cuts.boundary(layers[place], cut)
    inputs = keras.Input(crossing.shape[1:], name="boundary")
    x = fold(keras.Model(crossing, layers[place].outputs[0]))(inputs, training=False)
    for layer in layers[place + 1 :]:
        x = layer(x)
    return keras.Model(inputs, x, name="above")
