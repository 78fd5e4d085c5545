"""What params.yaml must say where examples are texts, and what it may only say there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from graft.backbones import encoders
from graft.errors import unknown

if TYPE_CHECKING:
    from graft.config.schema import BackboneParams, ExtractParams

PRESET = re.compile(r"([a-z]+://[\w./-]+)|([a-z0-9_.]+)", re.IGNORECASE)
"""How KerasHub names what it downloads: bert_base_en, hf://owner/name."""

OF_IMAGES = ("auto", "bundled", "imagenet", "random", "none")
"""Values of backbone.weights that networks for images have."""


def is_meant(backbone: BackboneParams, kind: str | None) -> bool:
    """Whether these are the checks for this network. kind: of the examples, None where that is not known."""
    return encoders.is_text(backbone.name) or kind == "text"


def check_backbone(p: BackboneParams, kind: str | None) -> list[str]:
    if not encoders.is_text(p.name):
        return [f"backbone.name: for data.kind: text {unknown(p.name, encoders.ENCODERS)}"]
    if kind == "image":
        return [f"backbone.name: must be a network for images where data.kind is image. Got {p.name!r}."]
    folder = Path(p.weights)
    if folder.is_dir():
        digest = encoders.digest(folder)
        if p.weights_sha256 != digest:
            got = "null" if p.weights_sha256 is None else repr(p.weights_sha256)
            return [f"backbone.weights_sha256: must be that of the files in {folder}, {digest}. Got {got}."]
        return []
    if p.weights in OF_IMAGES or not PRESET.fullmatch(p.weights):
        return [
            f"backbone.weights: must be, for {p.name}, an existing folder with its config.json, weights and vocabulary "
            f"in Hugging Face's layout, or the name of a preset of KerasHub's. Got {p.weights!r}."
        ]
    if p.weights_sha256 is not None:
        return [f"backbone.weights_sha256: must be null for a preset of KerasHub's. Got {p.weights_sha256!r}."]
    return []


def check_extract(p: ExtractParams, kind: str) -> list[str]:
    faults = []
    if kind == "text" and p.pooling is None:
        faults.append("extract.pooling: must be avg, max or cls for data.kind: text. Got null.")
    if kind == "image" and p.pooling == "cls":
        faults.append("extract.pooling: must be avg, max or null for data.kind: image. Got 'cls'.")
    section, augment = ("augment_text", p.augment_text) if kind == "text" else ("augment", p.augment)
    if p.views and not augment.active:
        faults.append(
            f"extract.views: must be 0 where extract.{section} changes nothing (all 0 and false). Got {p.views}."
        )
    return faults
