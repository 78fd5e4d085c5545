"""BatchNorm in inference mode folded into the convolution before it, which makes fine-tuning faster.

There it is scale * x + offset for each channel (Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167, algorithm 2),
and scale * conv(x, kernel) + offset = conv(x, scale * kernel) + offset. So the kernel is scaled instead of the far
larger activations and their gradients, and TensorFlow adds many of the offsets as it computes the convolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def fold(network: keras.Model) -> keras.Model:
    """The same function of the same variables, with BatchNorm in inference mode; made to be trained, not saved.

    network: functional. A BatchNorm stays a layer unless it directly follows a Conv2D or DepthwiseConv2D without an
    activation, channels last.
    """
    import keras

    class Folded(keras.layers.Layer):  # type: ignore[misc]
        """A convolution and the BatchNorm after it."""

        def __init__(self, convolution: Any, norm: Any) -> None:
            super().__init__(name=norm.name, dtype=norm.dtype_policy)
            self.convolution = convolution
            self.norm = norm
            self.built = True

        def call(self, x: Any) -> Any:
            scale, offset = _affine(self.convolution, self.norm)
            return _convolve(self.convolution, x, scale) + offset

    convolved: dict[int, tuple[Any, Any, Any]] = {}

    def call(layer: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.axis in (-1, 3) and id(x) in convolved:
            convolution, its_input, _ = convolved[id(x)]
            return Folded(convolution, layer)(its_input)
        output = layer(x, *args, **kwargs)
        if type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D) and _plain(layer):
            convolved[id(output)] = layer, x, output  # held, so that no other tensor gets its id
        return output

    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)


def _plain(convolution: Any) -> bool:
    import keras

    return convolution.activation is keras.activations.linear and convolution.data_format == "channels_last"


def _affine(convolution: Any, norm: Any) -> tuple[Any, Any]:
    """scale and offset, (channels,) each, of a convolution's bias and the BatchNorm after it."""
    import keras

    scale = keras.ops.rsqrt(norm.moving_variance + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma
    offset = -norm.moving_mean * scale
    if norm.center:
        offset = offset + norm.beta
    if convolution.use_bias:
        offset = offset + convolution.bias * scale
    return scale, offset


def _convolve(convolution: Any, x: Any, scale: Any) -> Any:
    """Without bias, the kernel (h, w, in, out), or (h, w, in, multiplier) of a depthwise one, scaled by channel."""
    import keras

    how = {
        "strides": convolution.strides,
        "padding": convolution.padding,
        "dilation_rate": convolution.dilation_rate,
    }
    kernel = convolution.kernel
    if isinstance(convolution, keras.layers.DepthwiseConv2D):
        return keras.ops.depthwise_conv(x, kernel * keras.ops.reshape(scale, kernel.shape[2:]), **how)
    return keras.ops.conv(x, kernel * scale, **how)
