"""What params.yaml must say where examples are texts, and what it may only say there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.backbones import encoders
from graft.config import of_hub
from graft.errors import unknown

if TYPE_CHECKING:
    from graft.config.schema import BackboneParams, ExtractParams


def is_meant(backbone: BackboneParams, kind: str | None) -> bool:
    """Whether these are the checks for this network. kind: of the examples, None where that is not known."""
    return encoders.is_text(backbone.name) or kind == "text"


def check_backbone(p: BackboneParams, kind: str | None) -> list[str]:
    if not encoders.is_text(p.name):
        return [f"backbone.name: for data.kind: text {unknown(p.name, encoders.ENCODERS)}"]
    if kind == "image":
        return [f"backbone.name: must be a network for images where data.kind is image. Got {p.name!r}."]
    return of_hub.check_weights(p, "its config.json, weights and vocabulary in Hugging Face's layout")


def check_extract(p: ExtractParams, kind: str, has_summary: bool) -> list[str]:
    """has_summary: whether the network has a vector of an image that `cls` takes; every text network has its own."""
    faults = []
    if kind == "text" and p.pooling is None:
        faults.append("extract.pooling: must be avg, max or cls for data.kind: text. Got null.")
    if kind == "image" and p.pooling == "cls" and not has_summary:
        faults.append(
            "extract.pooling: must be avg, max or null for this network; cls is of texts, and of KerasHub's networks "
            "for images. Got 'cls'."
        )
    section, augment = ("augment_text", p.augment_text) if kind == "text" else ("augment", p.augment)
    if p.views and not augment.active:
        faults.append(
            f"extract.views: must be 0 where extract.{section} changes nothing (all 0 and false). Got {p.views}."
        )
    return faults
