"""Grad-CAM: where in a picture a classifier finds what speaks for a class.

Selvaraju et al. 2016, https://arxiv.org/abs/1610.02391, eq. 1 and 2: each channel of the last feature map weighs as
much as the class's logit rises with it, on average over all places; what the channels so add up to at a place, where
that is positive, is its heat. For a linear head on average pooling it is CAM (Zhou et al. 2015,
https://arxiv.org/abs/1512.04150).

The logit, not the probability: softmax's gradient of a class would also say what speaks against the others, and is
nothing at all where the model is sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.training import shards

if TYPE_CHECKING:
    import keras

AT_ONCE = 8
"""Pictures: all that a network computes for them is held, 100 MB each for MobileNetV2 at 224 pixels."""

POOLS = ("MaxPooling2D", "AveragePooling2D", "Matmul")
"""Operations whose result is a map, though none that a convolution made: what they read has more places.

A matrix product is how `taps.joined` takes means.
"""


class GradCam:
    """A classifier taken apart once, to explain many pictures.

    places: (rows, columns) of the feature map that is looked at; (0, 0) where the model has no convolution, or
        does not read the map of one.
    """

    def __init__(self, model: keras.Model) -> None:
        """model: pixels (n, side, side, 3) float32 in [0, 255] -> probabilities (n, n_classes), its last layer a Dense.

        The map is the last one of the first network within it that has convolutions, before it is pooled: of the
        backbone, or of the head where the backbone is the pixels themselves.
        Raises ValueError where the last layer is no Dense.
        """
        self._side = int(model.input_shape[1])
        segments, self._kernel = _below_the_logits(_segments(model))
        self._below, self._above, self.places = _split(segments)

    @property
    def limit(self) -> str:
        """Why nothing can be localised, a sentence; "" where it can."""
        if self.places == (0, 0):
            return (
                "The model has no convolution, or reads a class token instead of a map of places: nothing can be "
                "localised."
            )
        if self.places == (1, 1):
            return (
                f"The network's last feature map has one place for a picture of {self._side} x {self._side} pixels: "
                "nothing can be localised. A larger backbone.input_size has more."
            )
        return ""

    def maps(self, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The same as `heat_maps`, a value for each place: (n, rows, columns)."""
        _require(pixels, classes, self._side, self._kernel.shape[1])
        if self.limit:
            return np.zeros((len(pixels), *self.places), np.float32)
        heat = np.zeros((len(pixels), *self.places), np.float32)
        for start in range(0, len(pixels), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            heat[some] = self._maps(pixels[some], classes[some])
        highest = heat.max(axis=(1, 2), keepdims=True, initial=0)
        return np.asarray(np.divide(heat, highest, out=np.zeros_like(heat), where=highest > 0), np.float32)

    def _maps(self, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        tensors = [tf.constant(pixels, tf.float32)]
        for part in self._below:
            tensors = shards.outputs(part, tensors)
        activations = tensors[0]
        with tf.GradientTape() as tape:
            tape.watch(activations)
            for part in self._above:
                tensors = shards.outputs(part, tensors)
        # How a logit changes with what the last layer reads is its column of the kernel.
        gradients = tape.gradient(tensors[0], activations, self._kernel[:, classes].T).numpy()
        weights = gradients.mean(axis=(1, 2))  # eq. 1
        return np.asarray(np.maximum(np.einsum("nhwc,nc->nhw", activations.numpy(), weights), 0))  # eq. 2

    def heat_maps(self, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """pixels: (n, side, side, 3) float32 in [0, 255]. classes: (n,) int, which class each is asked about.

        Returns (n, side, side) float32 in [0, 1], the places' values with smooth steps between them: 1 is where a
        picture's evidence for its class is strongest, so that heat is not to be compared between pictures. All 0 where
        nothing speaks for the class, or nothing can be localised (`limit`).
        Raises ValueError for other shapes, or classes that the model does not have.
        """
        maps = self.maps(pixels, classes)
        heat = np.zeros((len(pixels), self._side, self._side), np.float32)
        for row, one in enumerate(maps if not self.limit else ()):
            heat[row] = enlarged(one, self._side, self._side)
        return heat


def heat_maps(model: keras.Model, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """As `GradCam(model).heat_maps(pixels, classes)`, which takes the model apart."""
    return GradCam(model).heat_maps(pixels, classes)


def enlarged(heat: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w) float32 in [0, 1] -> (height, width) float32 in [0, 1], by cubic interpolation."""
    import cv2

    resized = cv2.resize(np.ascontiguousarray(heat, np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(resized, 0, 1))


def _require(pixels: np.ndarray, classes: np.ndarray, side: int, n_classes: int) -> None:
    if pixels.ndim != 4 or pixels.shape[1:] != (side, side, 3):
        raise ValueError(f"pixels: must be (n, {side}, {side}, 3). Got {pixels.shape}.")
    if classes.shape != (len(pixels),) or not ((classes >= 0) & (classes < n_classes)).all():
        raise ValueError(
            f"classes: must be {len(pixels)} numbers from 0 to {n_classes - 1}, one for each picture. Got {classes}."
        )


def _segments(model: keras.Model) -> list[keras.Model]:
    """A chain of models with one input and one output each, which one after the other are `model`.

    The models within it are segments; what is before, between and after them, too.
    """
    import keras

    found: list[keras.Model] = []
    end = tensor = model.outputs[0]
    while True:
        operation, node = _maker(tensor)
        if isinstance(operation, keras.Model):
            found = [operation, *_segment(tensor, end), *found]
            end = tensor = node.input_tensors[0]
        elif node.is_input:
            return [*_segment(tensor, end), *found]
        else:
            tensor = node.input_tensors[0]


def _segment(start: Any, end: Any) -> list[keras.Model]:
    """From one tensor to another; nothing where they are the same."""
    import keras

    return [] if start is end else [keras.Model(start, end)]


def _maker(tensor: Any) -> tuple[Any, Any]:
    """The operation that makes a tensor, and the call of it that does."""
    operation, node_index, _ = tensor._keras_history
    return operation, operation._inbound_nodes[node_index]


def _below_the_logits(segments: Sequence[keras.Model]) -> tuple[list[keras.Model], np.ndarray]:
    """The segments up to what the last layer reads, and that layer's kernel (d, n_classes) float32."""
    import keras

    *others, head = segments
    layer, node = _maker(head.outputs[0])
    if not isinstance(layer, keras.layers.Dense):
        raise ValueError(f"model: its last layer must be a Dense. Got {type(layer).__name__} {layer.name!r}.")
    read = node.input_tensors[0]
    return [*others, *_segment(head.inputs[0], read)], np.asarray(layer.kernel.numpy(), np.float32)


def _split(segments: Sequence[keras.Model]) -> tuple[list[keras.Model], list[keras.Model], tuple[int, int]]:
    """What is below the map and what is above it, and its places.

    Between the two, the map is the first tensor; others cross where features are read before it, too.
    """
    import keras

    place = next((i for i, one in enumerate(segments) if any(len(w.shape) == 4 for w in one.weights)), None)
    if place is None:
        return [], [], (0, 0)
    network = segments[place]
    end, tensor = network.outputs[0], network.outputs[0]
    while len(tensor.shape) != 4 or type(_maker(tensor)[0]).__name__ in POOLS:
        tensor = _maker(tensor)[1].input_tensors[-1]  # of features side by side, the network's own are the last
    if not _is_convolved(tensor):
        return [], [], (0, 0)
    crossing = [tensor, *_beside(network, tensor)]
    below = [*segments[:place], keras.Model(network.inputs[0], crossing)]
    above = [] if tensor is end else [keras.Model(crossing, end)]
    return below, [*above, *segments[place + 1 :]], (int(tensor.shape[1]), int(tensor.shape[2]))


def _is_convolved(tensor: Any) -> bool:
    """Whether a convolution is among what a tensor is made of: else it is the picture itself."""
    seen, pending = set(), [tensor]
    while pending:
        operation, node = _maker(pending.pop())
        if id(node) not in seen:
            seen.add(id(node))
            if any(len(weight.shape) == 4 for weight in getattr(operation, "weights", [])):
                return True
            pending += node.input_tensors
    return False


def _beside(network: keras.Model, tensor: Any) -> list[Any]:
    """What is read together with `tensor`, or with what is made of it, and does not depend on it."""
    depends, beside = {id(tensor)}, {}
    for depth in sorted(network._nodes_by_depth, reverse=True):
        for node in network._nodes_by_depth[depth]:
            if any(id(one) in depends for one in node.input_tensors):
                depends.update(id(one) for one in node.outputs)
                beside.update({id(one): one for one in node.input_tensors if id(one) not in depends})
    return list(beside.values())
