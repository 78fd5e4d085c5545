"""The upper layers of the backbone are trained with the head, on cached activations; the result is the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft import inputs
from graft.backbones import build
from graft.errors import StaleError
from graft.examples import catalogue, dataset
from graft.examples.sources import SOURCES
from graft.features import store
from graft.inputs.batches import Task, batches
from graft.models import assemble, card, gates, saving
from graft.runtime.progress import say
from graft.training import history, shards

if TYPE_CHECKING:
    import keras

    from graft.config.schema import DataParams, Params
    from graft.pipeline.layout import Paths
    from graft.training.fit import OnEpoch

GATE_EXAMPLES = 4


def run(params: Params, paths: Paths, on_epoch: OnEpoch) -> None:
    """Write the model on pixels, its card, and the history of fine-tuning (without rows where it is not enabled)."""
    data = dataset.read(paths.catalogue, paths.split)
    features = store.require(paths.features, data.sha256s)
    loaded = _built(params, features)
    head = saving.load(paths.head)
    model = assemble.classifier(loaded, features.meta.output["pooling"], head)

    activations = store.require(paths.activations, data.sha256s) if params.finetune.enabled else None
    cut = activations.meta.output["cut"] if activations else None
    rows = data.sides.rows["train"][:GATE_EXAMPLES]
    pixels = _pixels(params.data, data, features, rows)
    predicted = _gate(features, activations, rows, model, head, pixels)

    curve, last, array = history.empty(), head, features.array
    if activations is not None and cut is not None:
        array = activations.array
        assemble.unfreeze(loaded, cut)
        last = assemble.above(model, cut)
        trained = sum(w.numpy().size for w in last.trainable_weights)
        say(f"training from {cut} on: {trained:,} of {model.count_params():,} parameters")
        curve = dataset.fit_to(array, data, last, params.finetune, params.seed, on_epoch, start_counts=True)
        predicted = shards.predict(model, pixels)
        _gate_tuned(activations, rows, last, predicted)
    else:
        say("finetune.enabled is false: the model is the frozen backbone with the trained head")

    saving.save(model, paths.model, pixels, predicted)
    seen = _validation(last, array, data)
    card.write(card.make(data.classes, features.meta.made_with, cut, build.digest(model), seen), paths.card)
    history.write(curve, paths.finetune_history)


def _built(params: Params, features: store.Stored) -> build.Loaded:
    """The backbone. Raises StaleError where its weights are not those that made the features."""
    loaded = build.of(params.backbone)
    expected = features.meta.made_with["weights_sha256"]
    if loaded.weights_sha256 != expected:
        raise StaleError(
            f"the features were made with weights {expected[:12]}, but backbone.weights now gives "
            f"{loaded.weights_sha256[:12]}. Run `dvc repro --force extract`."
        )
    return loaded


def _pixels(data: DataParams, images: dataset.Dataset, features: store.Stored, rows: np.ndarray) -> np.ndarray:
    """The model's own input for a few examples, (n, ...) float32, read and decoded as `extract` did."""
    spec = inputs.KINDS[features.meta.made_with["input"]["kind"]](features.meta.made_with["input"])
    chosen = images.used.iloc[rows]
    tasks = [Task(path, sha256) for path, sha256 in zip(chosen["path"], chosen["sha256"], strict=True)]
    read = catalogue.reader(SOURCES[data.source], Path(data.path))
    _, arrays = next(batches(spec, read, tasks, len(tasks)))
    return next(iter(arrays.values())).astype(np.float32)


def _gate(
    features: store.Stored,
    activations: store.Stored | None,
    rows: np.ndarray,
    model: keras.Model,
    head: keras.Model,
    pixels: np.ndarray,
) -> np.ndarray:
    """What was cached against the assembled model on pixels, before anything is trained; returns its probabilities."""
    cut = activations.meta.output["cut"] if activations else None
    own, predicted, *crossing = (np.asarray(one) for one in shards.outputs(assemble.opened(model, cut), [pixels]))
    cached = store.plain(features.array, rows)
    gates.same_features("the cached features", cached, "the model's own on pixels", own, _tolerance(features))
    if activations is not None:
        stored = store.plain(activations.array, rows)
        gates.same_features(
            "the cached activations", stored, "the model's own on pixels", crossing[0], _tolerance(activations)
        )
    if features.meta.made_with["precision"] == "float32":
        gates.same_probabilities(
            "the head on cached features",
            shards.predict(head, cached),
            "the assembled model on pixels",
            predicted,
            gates.PROBABILITY[features.meta.dtype],
        )
    return predicted


def _gate_tuned(activations: store.Stored, rows: np.ndarray, above: keras.Model, predicted: np.ndarray) -> None:
    """What was trained on activations against the fine-tuned model on pixels."""
    if activations.meta.made_with["precision"] == "float32":
        gates.same_probabilities(
            "the trained layers on cached activations",
            shards.predict(above, store.plain(activations.array, rows)),
            "the fine-tuned model on pixels",
            predicted,
            gates.PROBABILITY[activations.meta.dtype],
        )


def _tolerance(stored: store.Stored) -> float:
    precision = stored.meta.made_with["precision"]
    return gates.FEATURES[stored.meta.dtype if precision == "float32" else precision]


def _validation(model: keras.Model, array: np.ndarray, data: dataset.Dataset) -> dict[str, float]:
    """What the model that ships says of the validation examples."""
    examples = data.of("validation")
    if not len(examples.rows):
        return {}
    probabilities = dataset.predicted(model, array, examples.rows)
    right = probabilities.argmax(axis=1) == examples.targets
    return {"examples": len(right), "accuracy": float(right.mean())}
