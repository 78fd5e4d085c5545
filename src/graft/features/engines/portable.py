"""What OpenVINO's float32 features of a network depend on: `portable.json`, derived by `make portable-table`.

ANY: the same bytes with every instruction set, so that none must be held back. AVX2: the same bytes on every
processor as long as oneDNN is held to AVX2. NONE: not even then, since OpenVINO computes a layer with an approximate
instruction; TensorFlow's engine, where that layer has a square root and a division, must compute it.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from graft.backbones import encoders

FILE = Path(__file__).parent / "portable.json"

ANY, AVX2, NONE = "any", "AVX2", "none"


@cache
def table() -> dict[str, dict[str, str]]:
    """network -> width multiplier ("-" where it has none) -> ANY, AVX2 or NONE."""
    found: dict[str, dict[str, str]] = json.loads(FILE.read_text())
    return found


def depends_on(backbone: str, alpha: float | None) -> str:
    """ANY, AVX2 or NONE. A width that was not tried needs AVX2; every text network has LayerNorm."""
    if encoders.is_text(backbone):
        return NONE
    widths = table().get(backbone, {})
    return widths.get("-" if alpha is None else f"{alpha:g}", NONE if NONE in widths.values() else AVX2)


def uncapped_is_equal(backbone: str, alpha: float | None, engine: str, precision: str) -> bool:
    """Whether features and activations are the same bytes whatever instruction set computes them."""
    return engine == "openvino" and precision == "float32" and depends_on(backbone, alpha) == ANY
