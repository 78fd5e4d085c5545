"""What is allowed, but hardly meant: said by `graft params check` and at the end of a run, never refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from graft.backbones.automatic import AUTO
from graft.backbones.table import has_batch_norm

if TYPE_CHECKING:
    from graft.config.schema import Params


def of(params: Params, given: Mapping[str, Any]) -> list[str]:
    """A sentence for each doubt. given: the tree of params.yaml, before `auto` was decided."""
    told = []
    alpha = given["backbone"]["alpha"]
    if alpha not in (None, AUTO) and params.backbone.alpha is None:
        told.append(f"backbone.alpha: {alpha:g} is ignored, since {params.backbone.name} has no width multiplier.")
    learns = params.finetune.enabled and params.finetune.batch_norm == "learning"
    if params.backbone.weights == "random" and has_batch_norm(params.backbone.name) and not learns:
        told.append(
            f"backbone.weights: random, and the BatchNorm of {params.backbone.name} stays frozen as it was "
            "initialised: its features hardly tell one example from another. Set backbone.weights to imagenet, bundled "
            "or a file; or, to train it from scratch, train.enabled: false, finetune.cut: input and "
            "finetune.batch_norm: learning."
        )
    if params.finetune.refit if params.finetune.enabled else params.train.refit:
        section = "finetune" if params.finetune.enabled else "train"
        told.append(
            f"{section}.refit: true, so that the model has seen the validation examples: what is said of it there says "
            "nothing of others. Its test numbers do."
        )
    return told
