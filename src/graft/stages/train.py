"""A new head is trained on the cached features, or solved for them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from graft.examples import dataset
from graft.features import store
from graft.models import heads, saving, solved
from graft.models.runners import RUNNERS
from graft.models.runners.base import Job
from graft.runtime.progress import say
from graft.training import history

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths
    from graft.training.fit import OnEpoch


def run(params: Params, paths: Paths, on_epoch: OnEpoch) -> None:
    """Write the head (its best epoch) and the history; where `train.enabled` is false, the head as it is drawn."""
    data = dataset.read(paths.catalogue, paths.split)
    meta, _ = store.read_meta(paths.features)
    values = getattr(params.train.heads, params.train.head).model_dump()
    build = partial(heads.build, params.train.head, values, meta.shape[2:], len(data.classes), params.seed)
    head = build()
    if params.train.enabled:
        features = store.require(paths.features, data.sha256s)
        if params.train.head in solved.SOLVERS:
            job = Job(partial(store.opened, paths.features, meta), build, params.numerics)
            with RUNNERS[params.train.runner](job, params.ray) as runners:
                curve = solved.fit(head, params.train, data, features, on_epoch, runners)
        else:
            curve = dataset.fit_to(features, data, head, params.train, params.seed, on_epoch)
        example = features.plain(data.sides.rows["train"][:32])
    else:
        say("train.enabled is false: fine-tuning starts from the head as it is drawn")
        curve = history.empty()
        example = np.random.default_rng(0).standard_normal((1, *meta.shape[2:]), np.float32)

    saving.save(head, paths.head, example)
    history.write(curve, paths.train_history)
