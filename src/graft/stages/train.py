"""A new head is trained on the cached features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.examples import dataset
from graft.features import store
from graft.models import heads, saving
from graft.training import history

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths
    from graft.training.fit import OnEpoch


def run(params: Params, paths: Paths, on_epoch: OnEpoch) -> None:
    """Write the head (its best epoch) and the history."""
    data = dataset.read(paths.catalogue, paths.split)
    features = store.require(paths.features, data.sha256s)

    values = getattr(params.train.heads, params.train.head).model_dump()
    head = heads.build(params.train.head, values, features.meta.shape[2:], len(data.classes), params.seed)
    curve = dataset.fit_to(features.array, data, head, params.train, params.seed, on_epoch)

    saving.save(head, paths.head, store.plain(features.array, data.sides.rows["train"][:32]))
    history.write(curve, paths.train_history)
