"""Backbone, pooling and head as one model on pixels; and the part of it that is trained.

pixels ── preprocess ── layers below the cut ──┬── layers from the cut on ── pooling ── head
                        (frozen, inference)    └ boundary: the one tensor that crosses
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

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


def unfreeze(backbone: Loaded, cut: str, batch_norm_learns: bool = False) -> None:
    """Make the layers from `cut` on trainable, all below frozen.

    Unless `batch_norm_learns`, BatchNorm layers stay frozen, and so in inference mode (`BatchNormalization.trainable =
    False`): their statistics were learnt on far more images than a fine-tuning set has.
    """
    import keras

    reached = False
    backbone.model.trainable = True
    for layer in backbone.model.layers:
        reached = reached or layer.name == cut
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = reached and (batch_norm_learns or not is_norm)


FROM_NOTHING = 0.9
"""Of a moving average that starts with random weights, the share that a step keeps: PyTorch's default."""


def hasten_averages(backbone: Loaded) -> None:
    """Let BatchNorm's moving averages follow random weights within some tens of steps.

    Keras's networks keep up to 0.999 of them a step, for training on millions of images: after 1,000 steps more than a
    third would still be what they were drawn with, and the network, judged by them, know nothing.
    """
    import keras

    for layer in backbone.model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, FROM_NOTHING)


def above(classifier: keras.Model, cut: str, batch_norm_learns: bool = False) -> keras.Model:
    """The part of a classifier from `cut` on: activations (n, h, w, c) float32 -> probabilities (n, n_classes).

    At the network's input it takes the classifier's own pixels instead. Shares the classifier's weights: training one
    trains the other. The backbone is in inference mode, unless `batch_norm_learns`: then what is trainable of it is in
    training mode while it is trained, BatchNorm and stochastic depth too.
    """
    import keras

    place, network = _network(classifier)
    if cuts.is_input(network, cut):
        crossing = network.inputs[0]
        inputs = keras.Input(classifier.input_shape[1:], name="pixels")
        x = inputs
        for operation in classifier.operations[1:place]:
            x = operation(x)
    else:
        crossing = cuts.boundary(network, cut)
        inputs = x = keras.Input(crossing.shape[1:], name="boundary")
    x = fold(keras.Model(crossing, network.outputs[0]))(x, training=None if batch_norm_learns else False)
    for operation in classifier.operations[place + 1 :]:
        x = operation(x)
    return keras.Model(inputs, x, name="above")


def opened(classifier: keras.Model, cut: str | None) -> keras.Model:
    """A classifier that also gives what is inside: pixels -> features, probabilities and, at a cut, activations."""
    import keras

    place, network = _network(classifier)
    if cut is not None:
        network = keras.Model(network.input, [network.output, cuts.boundary(network, cut)])
    inputs = keras.Input(classifier.input_shape[1:])
    x = inputs
    for operation in classifier.operations[1:place]:
        x = operation(x)
    x, *crossing = keras.tree.flatten(network(x, training=False))
    *pooling, head = classifier.operations[place + 1 :]
    for operation in pooling:
        x = operation(x)
    return keras.Model(inputs, [x, head(x), *crossing], name="opened")


def interpolate(model: keras.Model, start: Sequence[np.ndarray], share: float) -> None:
    """Move a model's weights back towards where they started, in place: `share` of the way from there remains.

    start: as `model.get_weights()` gave them. Wortsman et al. 2021, https://arxiv.org/abs/2109.01903, eq. 1.
    """
    part = np.float32(share)
    for variable, before in zip(model.weights, start, strict=True):
        variable.assign(before + part * (variable.numpy() - before))


def divide_logits(model: keras.Model, temperature: float) -> None:
    """Divide the logits of a head, or of a model that ends in one, in place: the kernel and bias of its last layer."""
    import keras

    last = model
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    for variable in last.weights:
        variable.assign(variable.numpy() / np.float32(temperature))


def _network(classifier: keras.Model) -> tuple[int, keras.Model]:
    """The backbone inside a classifier, and its place in the chain of operations that a classifier is.

    Not all of those are layers: channels are turned from RGB to BGR by a bare operation.
    """
    import keras

    return next((i, one) for i, one in enumerate(classifier.operations) if isinstance(one, keras.Model))
