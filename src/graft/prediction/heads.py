"""Several heads on one frozen network, which sees each example once; and a head in a file of its own.

A head alone is kilobytes, where the network below it is megabytes: its card says which network it needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graft import inputs
from graft.backbones import build, encoders, table, taps, vision
from graft.errors import BackboneError, DataError, StaleError
from graft.models import assemble, card, saving
from graft.serving.classifier import CARD, MODEL, Classifier

if TYPE_CHECKING:
    import keras

HEAD = "head.keras"

READS = "reads"
"""Of a head's card: how the features that it reads are pooled, and whether they are those of all layers."""

SHARED = ("input", "preprocessing", "backbone", READS)
"""What the cards of heads on one network must agree in."""

POOLING = {"GlobalAveragePooling2D": "avg", "GlobalMaxPooling2D": "max"}
"""Of maps, by the layer that does it."""

ON_TOKENS = {1.0: "cls", 2.0: "avg", 3.0: "max"}
"""Of tokens, by what comes out of three of them with 1, 3 and 2."""

CHECKED = 4
"""Random features on which a head's file must say what the head in the model says."""


@dataclass(frozen=True)
class Head:
    """model: features (n, ...) -> probabilities (n, n_classes). card: a model's, with READS.

    features: pixels or tokens -> features, where a whole model was read; None of a head alone.
    """

    model: keras.Model
    card: dict[str, Any]
    features: keras.Model | None = None


def of(classifier: Classifier) -> Head:
    """The head of a whole model. Raises DataError where the network below it is no longer the pretrained one."""
    import keras

    if classifier.card["finetuned_from"] is not None:
        raise DataError(
            f"a head alone must be one on a frozen network, and this model is fine-tuned from "
            f"{classifier.card['finetuned_from']}. Train one with finetune.enabled: false."
        )
    opened = assemble.opened(classifier.network, None)
    network = next(layer for layer in classifier.network.layers if isinstance(layer, keras.Model))
    joined = any(layer.name == taps.SIDE_BY_SIDE for layer in network.layers)
    reads = {"pooling": _pooling(classifier.network), "taps": taps.ALL if joined else taps.NONE}
    features = keras.Model(opened.inputs[0], opened.outputs[0])
    return Head(classifier.network.layers[-1], classifier.card | {READS: reads}, features)


def _pooling(network: keras.Model) -> str | None:
    """How a classifier pools what its network gives; None where it does not."""
    import keras

    for layer in network.layers:
        if type(layer).__name__ in POOLING:
            return POOLING[type(layer).__name__]
        if layer.name == "pooled" and isinstance(layer, keras.Model):
            tokens = np.ones((1, 3, layer.input_shape[-1]), np.float32) * np.array([[[1], [3], [2]]], np.float32)
            return ON_TOKENS.get(float(np.asarray(layer(tokens))[0, 0]))
    return None


def write(head: Head, folder: Path) -> None:
    """`head.keras` and its card. Raises GateError where the file does not say what the head says."""
    example = np.random.default_rng(0).random((CHECKED, *head.model.input_shape[1:]), np.float32)
    saving.save(head.model, folder / HEAD, example)
    card.write(head.card, folder / CARD)


def read(folder: Path) -> Head:
    """Of a folder with a head alone or with a whole model. Raises StaleError where there is neither."""
    if (folder / HEAD).is_file() and (folder / CARD).is_file():
        return Head(saving.load(folder / HEAD), json.loads((folder / CARD).read_text(encoding="utf-8")))
    if (folder / MODEL).is_file() and (folder / CARD).is_file():
        return of(Classifier.read(folder))
    raise StaleError(
        f"{folder}: must hold {HEAD} or {MODEL}, with {CARD}. It does not; `graft export --head` makes it."
    )


def together(heads: Mapping[str, Head]) -> keras.Model:
    """pixels or tokens -> the probabilities of each head, in their order: one pass of the network for all of them.

    Raises DataError where they need different networks, or the one that they need cannot be had.
    """
    import keras

    first, *others = heads
    for name in others:
        differing = [key for key in SHARED if heads[name].card[key] != heads[first].card[key]]
        if differing:
            raise DataError(
                f"heads: must all be on the same frozen network. {first} and {name} differ in "
                f"{' and '.join(differing)}."
            )
    card = heads[first].card
    features = next((head.features for head in heads.values() if head.features is not None), None) or _features(card)
    (name,) = inputs.KINDS[card["input"]["kind"]].from_dict(card["input"]).signature()
    given = keras.Input(features.input_shape[1:], name=name)
    read = features(given)
    # Every head is called "head" in its own file.
    models = [
        keras.Model(one.model.inputs[0], one.model.outputs[0], name=f"head_{i}") for i, one in enumerate(heads.values())
    ]
    return keras.Model(given, [model(read) for model in models])


def _features(card: Mapping[str, Any]) -> keras.Model:
    """The network of the table that a card names. Raises DataError where it cannot be had with those weights."""
    needed, reads = card["backbone"], card[READS]
    failed: list[str] = []
    for weights in _sources(needed["name"], needed["alpha"]):
        try:
            loaded = build.build(needed["name"], needed["alpha"], card["input"]["side"], weights, 0)
        except BackboneError as error:
            failed.append(f"{weights} cannot be loaded ({_reason(error)})")
            continue
        if loaded.weights_sha256 != needed["weights_sha256"]:
            failed.append(f"{weights} has other weights ({_short(loaded.weights_sha256)})")
            continue
        if reads["taps"] == taps.ALL:
            return build.feature_model(
                build.Loaded(loaded.row, taps.joined(loaded.model, reads["pooling"]), loaded.weights_sha256), None
            )
        return build.feature_model(loaded, reads["pooling"])
    width = "" if needed["alpha"] is None else f" {needed['alpha']}"
    nowhere = "this version of graft has no network of that name"
    if encoders.is_text(needed["name"]) or vision.is_vision(needed["name"]):
        nowhere = "a card does not say where the files of a network of KerasHub's are"
    raise DataError(
        f"heads: need {needed['name']}{width} with weights of sha256 {_short(needed['weights_sha256'])}, which cannot "
        f"be had here: {'; '.join(failed) or nowhere}. "
        "Name a whole model on that network among --heads."
    )


def _sources(name: str, alpha: float | None) -> Sequence[str]:
    """Where the weights may be from, which a card tells by their sha256 alone; nowhere for an unknown network."""
    row = table.BACKBONES.get(name)
    if row is None:
        return []
    return ["bundled", "imagenet"] if row.bundled is not None and row.bundled.alpha == alpha else ["imagenet"]


def _reason(error: BackboneError) -> str:
    """What Keras said, where it said something: graft's own sentence is about params.yaml, which is not read here."""
    return " ".join(str(error.__context__ or error).split())


def _short(sha256: str) -> str:
    return sha256[:12]
