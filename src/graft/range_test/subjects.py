"""What a range test trains: the same as a stage, from where the stage begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from graft.errors import TrainingError
from graft.examples import dataset, pixels
from graft.features import store
from graft.models import assemble, heads, saving, solved
from graft.stages import finetune

if TYPE_CHECKING:
    import keras

    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

Stage = Literal["train", "finetune"]


def of(stage: Stage, params: Params, paths: Paths) -> tuple[keras.Model, store.Views, dataset.Dataset]:
    """The stage's untrained model, the examples that it takes, and all examples.

    Raises TrainingError where the stage is not enabled, StaleError where an earlier stage's outputs are missing.
    """
    if not getattr(params, stage).enabled:
        raise TrainingError(f"{stage}.enabled: must be true for its learning rate to be looked for. Got false.")
    if stage == "train" and params.train.head in solved.SOLVERS:
        raise TrainingError(f"train.head: must be one that is trained. {params.train.head} is solved, without a rate.")
    data = dataset.read(paths.catalogue, paths.split)
    subject = _head if stage == "train" else _upper_layers
    return (*subject(params, paths, data), data)


def _head(params: Params, paths: Paths, data: dataset.Dataset) -> tuple[keras.Model, store.Views]:
    features = store.require(paths.features, data.sha256s)
    values = getattr(params.train.heads, params.train.head).model_dump()
    head = heads.build(params.train.head, values, features.meta.shape[2:], len(data.classes), params.seed)
    return head, features


def _upper_layers(params: Params, paths: Paths, data: dataset.Dataset) -> tuple[keras.Model, store.Views]:
    meta, _ = store.read_meta(paths.features)
    cut = store.read_meta(paths.activations)[0].output["cut"]
    loaded = finetune.built(params, meta)
    learns = params.finetune.batch_norm == "learning"
    model = assemble.classifier(loaded, meta.output["pooling"], saving.load(paths.head))
    assemble.unfreeze(loaded, cut, learns)
    images = pixels.of(data, meta.made_with, params.data.source, Path(params.data.path))
    return assemble.above(model, cut, learns), store.load(paths.activations, data.sha256s) or images
