"""The network that params.yaml means, whoever made it: the door through which all stages and commands come.

`build` has those that come with Keras and those for texts; `patches` KerasHub's for images.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from graft.backbones import build, patches, taps
from graft.backbones.vision import VISION
from graft.errors import BackboneError

if TYPE_CHECKING:
    from graft.config.schema import BackboneParams


def of(backbone: BackboneParams) -> build.Loaded:
    """As it is taken apart into layers and cuts: of KerasHub's for images, pixels -> tokens. Raises BackboneError."""
    row = VISION.get(backbone.name)
    return build.of(backbone) if row is None else patches.load(row, backbone).loaded


def built(backbone: BackboneParams, pooling: str | None, which: str = taps.NONE) -> build.Loaded:
    """As its features are read. pooling: of `extract.pooling`. which: of `extract.taps`. Raises BackboneError."""
    row = VISION.get(backbone.name)
    if row is None:
        return taps.built(backbone, pooling, which)
    found = patches.load(row, backbone)
    if which != taps.ALL:
        return found.read(pooling)
    if pooling == "cls" and not found.parts.others:
        raise BackboneError(
            f"extract.pooling: must be avg or max for extract.taps: all of this {row.name}, whose blocks have no class "
            "token. Got 'cls'."
        )
    return replace(found.loaded, model=taps.joined(found.loaded.model, pooling or "avg"))
