"""What params.yaml must say of the weights of a network of KerasHub's, whether it reads texts or images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from graft.backbones import encoders

if TYPE_CHECKING:
    from graft.config.schema import BackboneParams

PRESET = re.compile(r"([a-z]+://[\w./-]+)|([a-z0-9_.]+)", re.IGNORECASE)
"""How KerasHub names what it downloads: bert_base_en, hf://owner/name."""

WORDS = ("auto", "bundled", "imagenet", "random", "none")
"""Values of backbone.weights that networks of Keras's own have."""


def check_weights(p: BackboneParams, files: str) -> list[str]:
    """weights: of a folder, or a preset. files: what a folder must hold, for a message."""
    folder = Path(p.weights)
    if folder.is_dir():
        digest = encoders.digest(folder)
        if p.weights_sha256 != digest:
            got = "null" if p.weights_sha256 is None else repr(p.weights_sha256)
            return [f"backbone.weights_sha256: must be that of the files in {folder}, {digest}. Got {got}."]
        return []
    if p.weights in WORDS or not PRESET.fullmatch(p.weights):
        return [
            f"backbone.weights: must be, for {p.name}, an existing folder with {files}, or the name of a preset of "
            f"KerasHub's. Got {p.weights!r}."
        ]
    if p.weights_sha256 is not None:
        return [f"backbone.weights_sha256: must be null for a preset of KerasHub's. Got {p.weights_sha256!r}."]
    return []
