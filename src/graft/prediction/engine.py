"""A model on the engine that is fastest here: OpenVINO on a CPU, TensorFlow on a GPU or where OpenVINO cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.features import engines
from graft.features.engines.base import CannotRunError, Forward

if TYPE_CHECKING:
    import keras

    from graft.serving.classifier import Classifier


def forward(classifier: Classifier, network: keras.Model | None = None) -> Forward:
    """The arrays of examples -> what `network` gives for them, float32: by default (n, n_classes) probabilities.

    network: on the classifier's input. Every instruction of this processor is used: late decimals may differ from
    another's, as they do from those of `evaluate`.
    """
    network, signature = network or classifier.network, classifier.input.signature()
    chosen = engines.resolve("auto", "native", openvino_is_portable=True)
    try:
        return engines.ENGINES[chosen](network, signature, "float32", False)
    except CannotRunError as error:
        return engines.ENGINES[engines.instead("auto", chosen, "float32", error)](network, signature, "float32", False)


def reader(classifier: Classifier) -> keras.Model:
    """The network without its head: pixels -> (n, feature_dim) that the head reads; of a feature map, its mean."""
    import keras

    from graft.models import assemble

    ((name, (shape, _)),) = classifier.input.signature().items()
    inputs = keras.Input(shape, name=name)
    features, *_ = assemble.opened(classifier.network, None)(inputs)
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model(inputs, features)
