"""Resizing inside the graph, as Pillow resizes: every runtime computes it, and callers bring images of any size.

Pillow resamples an axis after the other (https://github.com/python-pillow/Pillow, src/libImaging/Resample.c). A pixel
of the result is a weighted sum of those below the filter, whose support grows with the scale where an image shrinks;
the sum is rounded and clipped to a byte after each axis. Each axis is one matrix product here. The weights are computed
in the graph from the image's height and width, so that any size will do; operations are Keras's, which every format
can be made from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.inputs.image.decode import Resizing

if TYPE_CHECKING:
    import keras


def resizer(resizing: Resizing) -> keras.Model:
    """Images (n, h, w, 3) uint8, any h and w of at least 1 -> (n, side, side, 3) float32, whole numbers in [0, 255]."""
    import keras

    images = keras.Input((None, None, 3), dtype="uint8", name="image")
    return keras.Model(images, square(images, resizing), name="resizing")


def square(images: Any, resizing: Resizing) -> Any:
    """The same, of a tensor. To the byte, or one off it where a sum ends in a half."""
    from keras import ops

    side = resizing.side
    x = ops.cast(images, "float32")
    columns, rows = _centres(x[0, 0, :, 0]), _centres(x[0, :, 0, 0])
    width, height = columns[-1] + 0.5, rows[-1] + 0.5
    across, down = _Axis(width, side), _Axis(height, side)
    if resizing.method == "crop":  # ImageOps.fit: the largest centred square
        shorter = ops.minimum(width, height)
        across = _Axis(shorter, side, start=(width - shorter) * 0.5)
        down = _Axis(shorter, side, start=(height - shorter) * 0.5)
    elif resizing.method == "pad":  # ImageOps.pad: the whole image, centred, zeros around it
        across, down = _padded(width, height, side), _padded(height, width, side)
    # Columns before rows, as Pillow.
    x = ops.transpose(x, (0, 3, 1, 2))
    x = _byte(ops.matmul(x, ops.transpose(across.weights(columns, resizing.interpolation))))
    x = _byte(ops.matmul(down.weights(rows, resizing.interpolation), x))
    return ops.transpose(x, (0, 2, 3, 1))


def _centres(line: Any) -> Any:
    """(n,) -> 0.5, 1.5, ...: where its pixels lie. A sum of ones, since runtimes know the shape of that beforehand."""
    from keras import ops

    return ops.cumsum(ops.ones_like(line)) - 0.5


def _byte(x: Any) -> Any:
    from keras import ops

    return ops.clip(ops.floor(x + 0.5), 0.0, 255.0)


class _Axis:
    """`length` pixels of an axis from `start` on become `pixels` of the result, from pixel `offset` of `side` on."""

    def __init__(self, length: Any, side: int, start: Any = 0.0, pixels: Any = None, offset: Any = 0.0) -> None:
        self.length, self.side, self.start, self.offset = length, side, start, offset
        self.pixels = float(side) if pixels is None else pixels

    def weights(self, centres: Any, interpolation: str) -> Any:
        """(side, len(centres)): rows add up to 1, or are zero where the result has a bar."""
        from keras import ops

        place = ops.subtract(np.arange(self.side, dtype=np.float32)[:, None] + 0.5, self.offset)
        scale = self.length / self.pixels
        source = place * scale + self.start
        if interpolation == "nearest":
            weights = ops.cast(ops.equal(ops.floor(centres)[None, :], ops.floor(source)), "float32")
        else:
            # Beside an image no larger than the result, the filter is as wide as one of its pixels.
            distance = ops.abs(centres[None, :] - source) / ops.maximum(scale, 1.0)
            weights = FILTERS[interpolation](distance)
            # A bar's rows have no weight at all.
            weights = weights / (ops.sum(weights, axis=1, keepdims=True) + 1e-12)
        if isinstance(self.offset, float):
            return weights
        inside = ops.logical_and(ops.greater(place, 0.0), ops.less(place, self.pixels))
        return weights * ops.cast(inside, "float32")


def _padded(length: Any, other: Any, side: int) -> _Axis:
    """An axis of an image whose longer axis fills the side."""
    from keras import ops

    pixels = ops.clip(ops.round(length / other * side), 1.0, float(side))
    return _Axis(length, side, pixels=pixels, offset=ops.round((side - pixels) * 0.5))


def _triangle(t: Any) -> Any:
    from keras import ops

    return ops.maximum(1.0 - t, 0.0)


def _cubic(t: Any) -> Any:
    """Keys 1981, https://doi.org/10.1109/TASSP.1981.1163711, with a = -0.5."""
    from keras import ops

    near = (1.5 * t - 2.5) * t * t + 1.0
    far = ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    return ops.where(t < 1.0, near, ops.where(t < 2.0, far, 0.0 * t))


def _lanczos(t: Any) -> Any:
    """sinc(t) * sinc(t / 3) up to 3; at 0, where that is 0 / 0, it is 1."""
    from keras import ops

    x = ops.maximum(t, 1e-4) * math.pi
    return ops.where(t < 3.0, ops.sin(x) * ops.sin(x / 3.0) * 3.0 / (x * x), 0.0 * t)


FILTERS: dict[str, Callable[[Any], Any]] = {"bilinear": _triangle, "bicubic": _cubic, "lanczos": _lanczos}
"""Interpolation -> weight of a pixel at a distance from the middle of the filter, in pixels of what is smaller."""
