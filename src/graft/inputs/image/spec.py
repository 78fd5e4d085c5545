"""An image as a square of pixels, as it is or as an augmented view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.inputs.image.augment import numbered
from graft.inputs.image.decode import Resizing, decode
from graft.inputs.spec import Arrays, Signature

if TYPE_CHECKING:
    from graft.config.schema import BackboneParams, ExtractParams

PIXELS = "pixels"
"""The network's one input."""


@dataclass(frozen=True)
class ImageInput:
    """resizing: how an image becomes a square. augment: ranges and seed of views, None where there are none."""

    resizing: Resizing
    augment: Mapping[str, Any] | None = None

    kind = "image"
    libraries = ("pillow", "simplejpeg", "opencv-python-headless")
    longest = None
    names = "pixels"

    @staticmethod
    def of(backbone: BackboneParams, extract: ExtractParams, pair: bool) -> ImageInput:
        resizing = Resizing(backbone.input_size, backbone.resize, backbone.interpolation)
        return ImageInput(resizing, extract.augment.model_dump() if extract.views else None)

    @staticmethod
    def from_dict(values: Mapping[str, Any], augment: Mapping[str, Any] | None = None) -> ImageInput:
        return ImageInput(Resizing(values["side"], values["resize"], values["interpolation"]), augment)

    def to_dict(self) -> dict[str, Any]:
        how = self.resizing
        return {"kind": self.kind, "side": how.side, "resize": how.method, "interpolation": how.interpolation}

    def fingerprint(self, augmented: bool) -> dict[str, Any]:
        return self.to_dict() | {"augment": dict(self.augment) if augmented and self.augment else None}

    def signature(self) -> Signature:
        side = self.resizing.side
        return {PIXELS: ((side, side, 3), "uint8")}

    def is_cut(self, data: bytes) -> bool:
        return False  # an image is made smaller

    def arrays(self, data: bytes, sha256: str, views: Sequence[int]) -> list[Arrays]:
        """{"pixels": (side, side, 3) uint8 RGB} of each view. Raises UndecodableError."""
        plain = decode(data, self.resizing)

        def seen(view: int) -> np.ndarray:
            return numbered(plain, self.augment or {}, sha256, view) if view else plain

        return [{PIXELS: seen(view)} for view in views]
