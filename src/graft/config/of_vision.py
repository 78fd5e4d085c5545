"""What params.yaml must say where the network is one of KerasHub's for images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.backbones import vision
from graft.config import of_hub

if TYPE_CHECKING:
    from graft.config.schema import BackboneParams


def check_backbone(p: BackboneParams, kind: str | None) -> list[str]:
    """kind: of the examples, None where that is not known."""
    row = vision.VISION[p.name]
    if kind == "text":
        return [f"backbone.name: must be a network for texts where data.kind is text. Got {p.name!r}."]
    if p.weights == vision.RANDOM:
        if p.weights_sha256 is not None:
            return [f"backbone.weights_sha256: must be null for weights: random. Got {p.weights_sha256!r}."]
        return []
    hugging_face = " in Hugging Face's layout, or" if row.layout else ""
    return of_hub.check_weights(p, f"its config.json and weights{hugging_face} as KerasHub saves a preset")


def check_pooling(p: BackboneParams, pooling: str | None, taps: str) -> list[str]:
    """`cls` of all blocks is what each has at the class token, which not every family has."""
    row = vision.VISION[p.name]
    if pooling == "cls" and taps == "all" and row.summary != vision.CLASS_TOKEN:
        return [
            f"extract.pooling: must be avg or max for extract.taps: all of {p.name}, whose blocks have no class token. "
            "Got 'cls'."
        ]
    return []
