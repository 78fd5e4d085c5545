"""Which networks need no cap on the instruction set: OpenVINO's float32 features are the same bytes with and without.

`portable.json` is derived from the networks by `make portable-table`, on a processor that has more than AVX2.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

FILE = Path(__file__).parent / "portable.json"


@cache
def table() -> dict[str, bool]:
    """network -> whether all that was tried is equal."""
    found: dict[str, bool] = json.loads(FILE.read_text())
    return found


def uncapped_is_equal(backbone: str, engine: str, precision: str) -> bool:
    """Whether features and activations are the same bytes whatever instruction set computes them."""
    return engine == "openvino" and precision == "float32" and table().get(backbone, False)
