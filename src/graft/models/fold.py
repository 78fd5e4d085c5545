"""Frozen BatchNorm folded into the convolution before it, which makes fine-tuning faster.

There it is scale * x + offset for each channel (Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167, algorithm 2),
and scale * conv(x, kernel) + offset = conv(x, scale * kernel) + offset. So the kernel is scaled instead of the far
larger activations and their gradients, and TensorFlow adds many of the offsets as it computes the convolution.

Scale and offset are constants: NumPy computes them in float64, in which square root and division are exact to the last
bit on every processor, and rounds them to float32 once. TensorFlow's reciprocal square root is an approximation that
differs between processors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graft.training.shards import each

if TYPE_CHECKING:
    import keras


def fold(network: keras.Model) -> keras.Model:
    """The same function of the same trainable variables, for training; not for saving.

    network: functional. Frozen BatchNorm that directly follows a Conv2D or DepthwiseConv2D without an activation,
    channels last, becomes part of it, other frozen BatchNorm a multiplication and an addition; both as they are now,
    whatever becomes of the layer. BatchNorm that is trainable stays as it is.
    """
    import keras

    class Folded(keras.layers.Layer):  # type: ignore[misc]
        """A convolution and the BatchNorm after it. Its kernel and bias stay the convolution's variables."""

        def __init__(self, convolution: Any, norm: Any) -> None:
            super().__init__(name=norm.name)
            self.convolution = convolution
            self.scale, self.offset = _affine(norm)
            self.built = True

        def call(self, x: Any) -> Any:
            return self.on_shards([x])[0]

        def on_shards(self, shards: list[Any]) -> list[Any]:
            """The kernel is scaled once for all of them, which `training.shards` knows this method for."""
            kernel, offset = _scaled(self.convolution, self.scale), self.offset
            if self.convolution.use_bias:
                offset = self.convolution.bias * self.scale + offset

            def convolved(x: Any) -> Any:
                """Casts for each shard, so that the gradients of all are added in float32."""
                x, own, shift = (keras.ops.cast(part, self.compute_dtype) for part in (x, kernel, offset))
                return _convolve(self.convolution, x, own) + shift

            return [convolved(x) for x in each(shards)]

    class Affine(keras.layers.Layer):  # type: ignore[misc]
        """The BatchNorm after anything else."""

        def __init__(self, norm: Any, rank: int) -> None:
            super().__init__(name=norm.name)
            shape = [1] * rank
            shape[norm.axis] = -1
            self.scale, self.offset = (part.reshape(shape) for part in _affine(norm))
            self.built = True

        def call(self, x: Any) -> Any:
            return x * keras.ops.cast(self.scale, x.dtype) + keras.ops.cast(self.offset, x.dtype)

    convolved: dict[int, tuple[Any, Any, Any]] = {}

    def call(layer: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        if type(layer) is keras.layers.BatchNormalization and not layer.trainable:
            if layer.axis in (-1, 3) and id(x) in convolved:
                convolution, its_input, _ = convolved[id(x)]
                return Folded(convolution, layer)(its_input)
            return Affine(layer, len(x.shape))(x)
        output = layer(x, *args, **kwargs)
        if type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D) and _plain(layer):
            convolved[id(output)] = layer, x, output  # held, so that no other tensor gets its id
        return output

    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)


def _plain(convolution: Any) -> bool:
    import keras

    return convolution.activation is keras.activations.linear and convolution.data_format == "channels_last"


def _affine(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """scale and offset, (channels,) float32 each, of a BatchNorm in inference mode."""

    def value(variable: Any) -> np.ndarray:
        return np.asarray(variable.numpy(), np.float64)

    scale = (value(norm.gamma) if norm.scale else 1.0) / np.sqrt(value(norm.moving_variance) + norm.epsilon)
    offset = (value(norm.beta) if norm.center else 0.0) - value(norm.moving_mean) * scale
    return scale.astype(np.float32), offset.astype(np.float32)


def _scaled(convolution: Any, scale: np.ndarray) -> Any:
    """The kernel (h, w, in, out), or (h, w, in, multiplier) of a depthwise one, scaled by output channel."""
    import keras

    depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
    return convolution.kernel * (scale.reshape(convolution.kernel.shape[2:]) if depthwise else scale)


def _convolve(convolution: Any, x: Any, kernel: Any) -> Any:
    """As a convolution does, with another kernel and without its bias."""
    import keras

    convolve = keras.ops.depthwise_conv if isinstance(convolution, keras.layers.DepthwiseConv2D) else keras.ops.conv
    return convolve(
        x,
        kernel,
        strides=convolution.strides,
        padding=convolution.padding,
        dilation_rate=convolution.dilation_rate,
    )
