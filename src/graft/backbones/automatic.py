"""What `auto` in params.yaml means, and which values a network has no use for: decided here, before anything runs.

Stages, runs and caches see the values that are meant, so that `auto` and what it stands for are the same pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.backbones import cuts, encoders, known_cuts, vision
from graft.backbones.table import BACKBONES

if TYPE_CHECKING:
    from graft.config.schema import BackboneParams, FinetuneParams

AUTO = "auto"
FULL_WIDTH = 1.0


def backbone(given: BackboneParams) -> BackboneParams:
    """weights: the bundled ones where they fit, else ImageNet's. alpha: that of the bundled weights where they may be
    meant, else full width; null where the network has no width."""
    row = BACKBONES.get(given.name)
    if encoders.is_text(given.name) or vision.is_vision(given.name):
        return given.model_copy(update={"alpha": None})
    if row is None:
        return given
    alpha, weights = given.alpha if row.alphas else None, given.weights
    if alpha == AUTO:
        alpha = row.bundled.alpha if row.bundled and weights in (AUTO, "bundled") else FULL_WIDTH
    if weights == AUTO and not row.is_network:
        weights = "none"
    if weights == AUTO:
        weights = "bundled" if row.bundled and row.bundled.alpha == alpha else "imagenet"
    return given.model_copy(update={"alpha": alpha, "weights": weights})


def finetune(given: FinetuneParams, network: str) -> FinetuneParams:
    """cut: the default one of the network, whether or not there is fine-tuning; null where there is no network.

    Of a network of KerasHub's `extract` decides it, once its files are read.
    """
    if given.cut != AUTO or network not in BACKBONES:
        return given
    return given.model_copy(update={"cut": cuts.default(known_cuts.known(network))})
