"""What a way to train costs, in multiply-adds: a measure of compute that no machine and no other user changes.

Of one image, forward: the sizes of all kernels times the positions they are used at (`cuts.multiply_adds`), of a text
as many as `backbone.max_tokens` allows it. Backward
costs twice as much, once for the gradient of what a layer reads and once for that of its kernel, so that training
costs 3 times the forward pass of what is trained. With n training images, v views of each, and s examples seen in all:

    frozen head   n * (1 + v) * extracted  +  3 * head * s of the head
    fine-tuned    the same                 +  3 * (above the cut + head) * s of the fine-tuning
    scratch                                   3 * (network + head) * s of its training

`extracted` is the whole network where features are stored, the part below the cut where activations alone are, nothing
where pixels are read. Judging the validation images is in none of them, nor is solving for a head that is not trained
by steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graft.backbones import cuts, networks
from graft.features import store
from graft.models import heads

if TYPE_CHECKING:
    import keras

    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

UNIT = 1e12
"""Multiply-adds in which costs are given."""

TRAINING = 3
"""Forward passes that a step of training costs."""


@dataclass(frozen=True)
class Network:
    """Multiply-adds of one image, forward. all: through the backbone. extracted: in `extract`. above: from the cut on.

    head: through the head. views: of each image beside itself. above is 0 where there is no fine-tuning.
    """

    all: int
    extracted: float
    above: float
    head: int
    views: int

    def frozen_head(self, images: int, seen: int) -> float:
        """Of `images` training images and `seen` examples, in UNIT; the others likewise."""
        return (images * (1 + self.views) * self.extracted + TRAINING * self.head * seen) / UNIT

    def finetuned(self, images: int, seen_by_head: int, seen: int) -> float:
        """seen_by_head: while the head was trained that fine-tuning starts from."""
        return self.frozen_head(images, seen_by_head) + TRAINING * (self.above + self.head) * seen / UNIT

    def scratch(self, seen: int) -> float:
        """The whole network, on pixels."""
        return TRAINING * (self.all + self.head) * seen / UNIT


def of(params: Params, paths: Paths, n_classes: int) -> Network:
    """The network of params.yaml and its head, as `extract` has prepared them. Raises StaleError where it has not."""
    points = cuts.derive(networks.of(params.backbone).model)
    features, has_features = store.read_meta(paths.features)
    activations, has_activations = store.read_meta(paths.activations)
    cut = activations.output["cut"]
    below = points.points[cut].below if cut is not None else 1.0
    values = getattr(params.train.heads, params.train.head).model_dump()
    head = heads.build(params.train.head, values, features.shape[2:], n_classes, params.seed)
    share = 1.0 if has_features else below if has_activations else 0.0
    tokens = params.backbone.max_tokens if params.data.kind == "text" else 1
    whole = points.multiply_adds * tokens
    return Network(whole, share * whole, (1 - below) * whole, of_layers(head), params.extract.views)


def of_layers(model: keras.Model) -> int:
    """Multiply-adds of one example through a head."""
    return sum(cuts.multiply_adds(layer) for layer in model.layers)


def examples_seen(steps: int, images: int, batch_size: int) -> int:
    """In so many steps, of which the last one of each pass has what is left of the images."""
    passes, rest = divmod(steps, math.ceil(images / batch_size))
    return passes * images + min(rest * batch_size, images)
