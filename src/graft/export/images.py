"""Images as exported files read them: of any size, since the file resizes; decoded by no more than Pillow."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from graft.export import resizing
from graft.inputs.image.spec import PIXELS, ImageInput

if TYPE_CHECKING:
    import keras


class Images:
    """A `kind.Kind`. Callers decode an image in full; graft decodes a JPEG near the size that is wanted."""

    entry = "image"
    shape: tuple[int | None, ...] = (None, None, 3)
    dtype = "uint8"
    nouns = "images"
    same = "pixels"
    calibrates = True

    def __init__(self, card: Mapping[str, Any]) -> None:
        self.spec = ImageInput.from_dict(card["input"])

    @property
    def words(self) -> str:
        how = self.spec.resizing
        return (
            f"RGB pixels of an upright image of any size; the graph resizes it ({how.method}, {how.interpolation}, "
            f"antialiased) to {how.side} x {how.side} and preprocesses it."
        )

    @property
    def beside(self) -> Mapping[str, str]:
        return {}

    @cached_property
    def front(self) -> keras.Model:
        """As `resizing.resizer`."""
        return resizing.resizer(self.spec.resizing)

    @property
    def network_shape(self) -> tuple[int | None, ...]:
        side = self.spec.resizing.side
        return (side, side, 3)

    def whole(self, network: keras.Model) -> keras.Model:
        import keras

        images, squares = self.front.inputs[0], self.front.outputs[0]
        return keras.Model(images, network(squares, training=False), name="classifier")

    def prepared(self, data: bytes) -> np.ndarray:
        """(side, side, 3) uint8, as graft decodes and resizes."""
        return self.spec.arrays(data, "", [0])[0][PIXELS]

    def given(self, data: bytes) -> np.ndarray:
        return upright(data)

    def timed(self, some: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """A photo: of the median number of pixels. And a square of the network's own size."""
        photo = sorted(some, key=lambda one: one.size)[len(some) // 2]
        side = self.spec.resizing.side
        return {"photo_milliseconds": photo[None], "milliseconds": np.full((1, side, side, 3), 128, np.uint8)}


def upright(data: bytes) -> np.ndarray:
    """(h, w, 3) uint8: the whole image, RGB."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
