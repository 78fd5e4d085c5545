"""Where a backbone can be cut: every layer below which exactly one tensor crosses.

Training from such a layer on needs nothing of what lies below but that one tensor, the boundary.
`derive` reads the cut points off a built network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.errors import BackboneError, unknown

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Cut:
    """layers: from the cut on. shape: (h, w, c) of what crosses, or (1, width) for each token of a text.

    below: share of the compute below it, 0 to 1.
    """

    layers: int
    shape: tuple[int, ...]
    below: float


@dataclass(frozen=True)
class CutPoints:
    """layers: number of layers of the backbone. points: cut layer -> what is cut there, from the input on.

    parameters: of the whole backbone. multiply_adds: of one image through all of it.
    """

    layers: int
    points: dict[str, Cut]
    parameters: int
    multiply_adds: int


INPUT = "input"
"""As a cut: the first cut point, from which the whole network is trained, on pixels."""


def resolve(cut_points: CutPoints, cut: str | int | float | None) -> str:
    """The name of the layer to train from.

    cut: a layer's name, or INPUT; or a number of layers n >= 1, or a fraction of them in (0, 1), counted from
        the output. A count falls on the cut point that leaves the fewest layers, but not fewer than
        asked, to train.

    Raises ValueError with a sentence that says what is allowed.
    """
    points = cut_points.points
    if cut == INPUT and points:
        return next(iter(points))
    if isinstance(cut, str):
        if cut not in points:
            raise ValueError(
                f"a layer name {unknown(cut, [INPUT, *points])} `graft backbones show NAME` lists them all."
            )
        return cut
    most = max(point.layers for point in points.values())
    if cut is None or isinstance(cut, bool) or cut <= 0 or (isinstance(cut, float) and cut >= 1):
        raise ValueError(
            f"must be a layer's name, a number of layers from 1 to {most}, or a fraction between 0 and 1. Got {cut!r}."
        )
    wanted = math.ceil(cut * cut_points.layers) if isinstance(cut, float) else cut
    enough = {name: point.layers for name, point in points.items() if point.layers >= wanted}
    if not enough:
        raise ValueError(f"must leave at most {most} layers to train. Got {cut!r}, {wanted} layers.")
    return min(enough, key=lambda name: enough[name])


DEFAULT_BELOW = 0.70
"""Share of the compute that the default cut leaves below it: fine-tuning costs a third of the whole network."""


def default(cut_points: CutPoints) -> str | None:
    """What `finetune.cut: auto` means: the first cut with DEFAULT_BELOW of the compute below it, else the last one.

    None where there is no cut, since there is no network.
    """
    below = [name for name, point in cut_points.points.items() if point.below >= DEFAULT_BELOW]
    return next(iter([*below, *reversed(cut_points.points)]), None)


def named(cut_points: CutPoints, cut: str | int | float | None) -> str:
    """`resolve` for the cut points of a built network. Raises BackboneError."""
    try:
        return resolve(cut_points, cut)
    except ValueError as error:
        raise BackboneError(f"finetune.cut: {error}") from None


def _trains(layer: Any) -> bool:
    """Whether fine-tuning can change a layer: BatchNorm stays frozen, and so does its scale."""
    return bool(getattr(layer, "weights", None)) and type(layer).__name__ != "BatchNormalization"


def multiply_adds(layer: Any) -> int:
    """Multiplications of weights with activations for one image: the size of every kernel times output positions.

    Vectors (biases, normalisation) are not counted, nor what has no weights; tables that are looked up cost nothing. Of
    a text: for one of its tokens, and without what attention multiplies with each other.
    """
    if type(layer).__name__.endswith("Embedding"):
        return 0
    kernels = sum(math.prod(weight.shape) for weight in getattr(layer, "weights", []) if len(weight.shape) > 1)
    return kernels * math.prod(size or 1 for size in layer.output.shape[1:-1]) if kernels else 0


def crossing(backbone: keras.Model) -> dict[str, Any]:
    """Cut layer name -> the one tensor, (n, h, w, c) or (n, length, width), made before it and read at it or later.

    Of a built functional network. A layer that is called several times, as ALBERT's block is, stands where it is first
    called: what it makes later crosses all that is between, which is no cut then.
    """
    layers, output = backbone.operations, backbone.outputs[0]
    nodes: dict[int, list[Any]] = {}
    for node in (node for same in backbone._nodes_by_depth.values() for node in same):
        nodes.setdefault(id(node.operation), []).append(node)
    made: dict[int, int] = {}
    read: dict[int, int] = {id(output): len(layers)}
    tensors: dict[int, Any] = {}
    for i, layer in enumerate(layers):
        for node in nodes[id(layer)]:
            made |= {id(tensor): i for tensor in node.outputs}
            tensors |= {id(tensor): tensor for tensor in node.outputs}
            read |= {id(tensor): i for tensor in node.input_tensors if read.get(id(tensor), -1) < i}
    found = {}
    for i in range(1, len(layers)):
        crossing = [tensor for tensor, maker in made.items() if maker < i <= read.get(tensor, -1)]
        # What a layer that only names a place hands on is what crosses at that place.
        if len(crossing) == 1 and type(layers[made[crossing[0]]]).__name__ != "Identity":
            found[layers[i].name] = tensors[crossing[0]]
    return found


def boundary(backbone: keras.Model, cut: str) -> Any:
    """What crosses at one cut point."""
    return crossing(backbone)[cut]


def is_input(backbone: keras.Model, cut: str) -> bool:
    """Whether what crosses at a cut is the network's own input, preprocessed pixels."""
    return boundary(backbone, cut) is backbone.inputs[0]


def apart(backbone: keras.Model, cut: str) -> bool:
    """Whether taking the tensor at `cut` out of the network changes late decimals of what comes after it.

    It does where a BatchNorm reads it: an engine computes a convolution and its BatchNorm as one, and must compute them
    apart where what is between them is wanted.
    """
    return type(backbone.get_layer(cut)).__name__ == "BatchNormalization"


def derive(backbone: keras.Model) -> CutPoints:
    """Cut points of a built functional network, nearest the input first.

    Points from which nothing could be trained are left out.
    """
    layers = backbone.operations
    found = crossing(backbone)
    last_weighted = max((i for i, layer in enumerate(layers) if _trains(layer)), default=-1)
    costs = [multiply_adds(layer) for layer in layers]
    points = {}
    for i, layer in enumerate(layers[: last_weighted + 1]):
        if layer.name in found:
            shape = tuple(size or 1 for size in found[layer.name].shape[1:])
            points[layer.name] = Cut(len(layers) - i, shape, round(sum(costs[:i]) / max(sum(costs), 1), 4))
    return CutPoints(len(layers), points, backbone.count_params(), sum(costs))
