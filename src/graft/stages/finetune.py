"""The upper layers of the backbone are trained with the head, on cached activations; the result is the model."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.backbones import build, networks, taps
from graft.backbones.build import ACTIVATIONS, FEATURES
from graft.errors import StaleError, TrainingError
from graft.evaluation import temperature
from graft.examples import dataset, pixels
from graft.features import store
from graft.inputs.batches import lengthened
from graft.models import assemble, card, gates, saving
from graft.runtime.progress import say
from graft.training import history, shards

if TYPE_CHECKING:
    import keras

    from graft.config.schema import BackboneParams, Params
    from graft.pipeline.layout import Paths
    from graft.training.fit import OnEpoch


def run(params: Params, paths: Paths, on_epoch: OnEpoch) -> None:
    """Write the model on pixels, its card, and the history of fine-tuning (without rows where it is not enabled)."""
    data = dataset.read(paths.catalogue, paths.split)
    calibrates = params.finetune.temperature == "validation"
    if calibrates:
        _require_held_out(data)
    stored = {name: store.load(folder, data.sha256s) for name, folder in _folders(paths).items()}
    meta, _ = store.read_meta(paths.features)
    cut = store.read_meta(paths.activations)[0].output["cut"]
    loaded = built(params, meta)
    head = saving.load(paths.head)
    model = assemble.classifier(loaded, meta.output["pooling"], head)

    inputs = store.read_sample(paths.features)
    rows = np.arange(len(inputs))
    predicted = _gate(stored, rows, assemble.opened(model, cut), head, inputs)

    curve, last = history.empty(), head
    views: store.Views = stored[FEATURES if cut is None else ACTIVATIONS] or pixels.of(
        data, meta.made_with, params.data.source, Path(params.data.path)
    )
    if cut is not None:
        learns = params.finetune.batch_norm == "learning"
        assemble.unfreeze(loaded, cut, learns)
        if learns and params.backbone.weights == "random":
            assemble.hasten_averages(loaded)
        last = assemble.above(model, cut, learns)
        trained = sum(w.numpy().size for w in last.trainable_weights)
        say(f"training from {cut} on: {trained:,} of {model.count_params():,} parameters")
        start = last.get_weights()
        curve = dataset.fit_to(views, data, last, params.finetune, params.seed, on_epoch, start_counts=True)
        if params.finetune.interpolate < 1:
            assemble.interpolate(last, start, params.finetune.interpolate)
    else:
        say("finetune.enabled is false: the model is the frozen backbone with the trained head")
    divisor = _calibrate(last, views, data) if calibrates else None
    if cut is not None or divisor is not None:
        predicted = shards.predict(model, inputs)
    if cut is not None:
        _gate_tuned(stored[ACTIVATIONS], views.plain(rows), last, predicted)

    saving.save(model, paths.model, inputs, predicted)
    refitted = params.finetune.refit if cut is not None else params.train.refit
    seen = {} if refitted else _validation(last, views, data)
    card.write(card.make(data.classes, meta.made_with, cut, build.digest(model), seen, divisor), paths.card)
    history.write(curve, paths.finetune_history)


def _folders(paths: Paths) -> dict[str, Path]:
    return {FEATURES: paths.features, ACTIVATIONS: paths.activations}


Asked = tuple["BackboneParams", str | None, str]
"""What `networks.built` is given."""

_built_ahead: dict[Asked, tuple[build.Loaded, Any, Any]] = {}
"""What was built, and the states of Python's and NumPy's generators then."""


def build_ahead(params: Params, paths: Paths) -> None:
    """Build the backbone before the head is there: `built` gives it, once, where it is asked for the same.

    It sees the gate's sample, too: what it computes for the first time takes twice as long. What is drawn after it is
    built, such as the seeds of a head's dropout, is what would have been drawn then.
    """
    asked = _asked(params, store.read_meta(paths.features)[0])
    loaded = networks.built(*asked)
    _built_ahead[asked] = loaded, random.getstate(), np.random.get_state()
    shards.outputs(loaded.model, [store.read_sample(paths.features)])


def _asked(params: Params, meta: store.Meta) -> Asked:
    return params.backbone, meta.output["pooling"], meta.output.get("taps", taps.NONE)


def built(params: Params, meta: store.Meta) -> build.Loaded:
    """The backbone. Raises StaleError where its weights are not those of the features."""
    asked = _asked(params, meta)
    if asked in _built_ahead:
        loaded, of_python, of_numpy = _built_ahead.pop(asked)
        random.setstate(of_python)
        np.random.set_state(of_numpy)
    else:
        loaded = networks.built(*asked)
    expected = meta.made_with["weights_sha256"]
    if loaded.weights_sha256 != expected:
        raise StaleError(
            f"the features were made with weights {expected[:12]}, but backbone.weights now gives "
            f"{loaded.weights_sha256[:12]}. Run `dvc repro --force extract`."
        )
    return loaded


def _gate(
    stored: Mapping[str, store.Stored | None],
    rows: np.ndarray,
    opened: keras.Model,
    head: keras.Model,
    pixels: np.ndarray,
) -> np.ndarray:
    """What was cached against the assembled model on pixels, before anything is trained; returns its probabilities."""
    own, predicted, *crossing = (np.asarray(one) for one in shards.outputs(opened, [pixels]))
    for name, theirs in zip((FEATURES, ACTIVATIONS), (own, *crossing), strict=False):
        if one := stored[name]:
            cached = one.plain(rows)
            if cached.shape != theirs.shape:  # of texts, which are stored as long as the longest may be
                theirs = lengthened(theirs, cached.shape[1], axis=1)
            gates.same_features(f"the cached {name}", cached, "the model's own on pixels", theirs, _tolerance(one))
    features = stored[FEATURES]
    if features is not None and features.meta.made_with["precision"] == "float32":
        gates.same_probabilities(
            "the head on cached features",
            shards.predict(head, features.plain(rows)),
            "the assembled model on pixels",
            predicted,
            gates.PROBABILITY[features.meta.dtype],
        )
    return predicted


def _gate_tuned(
    activations: store.Stored | None, inputs: np.ndarray, above: keras.Model, predicted: np.ndarray
) -> None:
    """What was trained, on what it was trained on, against the fine-tuned model on pixels."""
    if activations is None or activations.meta.made_with["precision"] == "float32":
        gates.same_probabilities(
            "the trained layers on cached activations" if activations else "the trained layers",
            shards.predict(above, inputs),
            "the fine-tuned model on pixels",
            predicted,
            gates.PROBABILITY[activations.meta.dtype if activations else "float32"],
        )


def _require_held_out(data: dataset.Dataset) -> None:
    """Raises TrainingError where there is nothing to choose a temperature by, before anything is trained."""
    if not data.of("validation").weights.any():
        raise TrainingError(
            "finetune.temperature: validation needs validation examples with a weight above 0, and the split has none. "
            "Set it to none, or hold some out (data.split)."
        )


def _calibrate(model: keras.Model, views: store.Views, data: dataset.Dataset) -> float:
    """Divide the model's logits by the temperature that suits the validation examples; returns it.

    model: what takes `views`, and ends in the very head of the model that ships.
    """
    examples = data.of("validation")
    probabilities = dataset.predicted(model, views, examples.rows)
    found = temperature.fitted(probabilities, examples.targets, examples.weights)
    assemble.divide_logits(model, found)
    say(f"temperature: logits are divided by {found:g}, which suits the validation examples best")
    return found


def _tolerance(stored: store.Stored) -> float:
    precision = stored.meta.made_with["precision"]
    return gates.FEATURES[stored.meta.dtype if precision == "float32" else precision]


def _validation(model: keras.Model, views: store.Views, data: dataset.Dataset) -> dict[str, float]:
    """What the model that ships says of the validation examples. model: what takes `views`."""
    examples = data.of("validation")
    if not len(examples.rows):
        return {}
    probabilities = dataset.predicted(model, views, examples.rows)
    right = probabilities.argmax(axis=1) == examples.targets
    return {"examples": len(right), "accuracy": float(right.mean())}
