"""The size and cut points of every row of the table, so that a wrong `finetune.cut` is refused, and `auto` means the
same, without importing TensorFlow.

`cuts.json` holds what `cuts.derive` found; `make cuts` writes it anew and `tests/test_backbones.py` compares it with
the networks.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from graft.backbones import cuts, encoders, vision
from graft.backbones.cuts import Cut, CutPoints

FILE = Path(__file__).parent / "cuts.json"


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(FILE.read_text())
    return table


def known(backbone: str) -> CutPoints:
    """The cut points of a row of the table, from `cuts.json`: at its usual input size and full width."""
    entry = _table()[backbone]
    return CutPoints(
        entry["layers"],
        {name: Cut(layers, tuple(shape), below) for name, (layers, shape, below) in entry["points"].items()},
        entry["parameters"],
        entry["multiply_adds"],
    )


def of(backbone: str) -> CutPoints | None:
    """As `known`; None of a network of KerasHub's, whose files alone tell how many blocks it has."""
    return None if encoders.is_text(backbone) or vision.is_vision(backbone) else known(backbone)


def at_input(backbone: str, cut: str | int | float | None) -> bool:
    """Whether `finetune.cut` is where the network begins."""
    points = of(backbone)
    if points is None:
        return cut in (cuts.INPUT, encoders.FIRST)
    return cuts.resolve(points, cut) == cuts.resolve(points, cuts.INPUT)
