"""Where a backbone can be cut: every layer below which exactly one tensor crosses.

Training from such a layer on needs nothing of what lies below but that one tensor, the boundary.
`derive` reads the cut points off a built network. `cuts.json` holds what it found for every row of
the table, so that a wrong `finetune.cut` is refused without importing TensorFlow; `make cuts` writes
it anew and `tests/test_backbones.py` compares it with the networks.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import unknown

if TYPE_CHECKING:
    import keras

FILE = Path(__file__).parent / "cuts.json"


@dataclass(frozen=True)
class CutPoints:
    """layers: number of layers of the backbone. points: cut layer name -> layers from it on."""

    layers: int
    points: dict[str, int]


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(FILE.read_text())
    return table


def known(backbone: str) -> CutPoints:
    """The cut points of a row of the table, from `cuts.json`."""
    entry = _table()[backbone]
    return CutPoints(entry["layers"], dict(entry["points"]))


def resolve(cut_points: CutPoints, cut: str | int | float) -> str:
    """The name of the layer to train from.

    cut: a layer's name; or a number of layers n >= 1, or a fraction of them in (0, 1), counted from
        the output. A count falls on the cut point that leaves the fewest layers, but not fewer than
        asked, to train.

    Raises ValueError with a sentence that says what is allowed.
    """
    points = cut_points.points
    if isinstance(cut, str):
        if cut not in points:
            raise ValueError(f"a layer name {unknown(cut, points)} `graft backbones show NAME` lists them all.")
        return cut
    if isinstance(cut, bool) or cut <= 0 or (isinstance(cut, float) and cut >= 1):
        raise ValueError(
            f"must be a layer's name, a number of layers from 1 to {max(points.values())}, "
            f"or a fraction between 0 and 1. Got {cut!r}."
        )
    wanted = math.ceil(cut * cut_points.layers) if isinstance(cut, float) else cut
    enough = {name: n for name, n in points.items() if n >= wanted}
    if not enough:
        raise ValueError(f"must leave at most {max(points.values())} layers to train. Got {cut!r}, {wanted} layers.")
    return min(enough, key=lambda name: enough[name])


def _trains(layer: Any) -> bool:
    """Whether fine-tuning can change a layer: BatchNorm stays frozen, and so does its scale."""
    return bool(getattr(layer, "weights", None)) and type(layer).__name__ != "BatchNormalization"


def derive(backbone: keras.Model) -> CutPoints:
    """Cut points of a built functional network, nearest the input first.

    A tensor crosses before layer i if a layer before i makes it and layer i or a later one reads it.
    Points from which nothing could be trained are left out.
    """
    layers = backbone.operations
    made: dict[int, int] = {}
    read: dict[int, int] = {id(backbone.outputs[0]): len(layers)}
    for i, layer in enumerate(layers):
        node = layer._inbound_nodes[0]
        made |= {id(tensor): i for tensor in node.outputs}
        read |= {id(tensor): i for tensor in node.input_tensors if read.get(id(tensor), -1) < i}
    last_weighted = max(i for i, layer in enumerate(layers) if _trains(layer))
    points = {}
    for i in range(1, last_weighted + 1):
        crossing = [tensor for tensor, maker in made.items() if maker < i <= read.get(tensor, -1)]
        if len(crossing) == 1:
            points[layers[i].name] = len(layers) - i
    return CutPoints(len(layers), points)
