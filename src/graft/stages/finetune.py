"""The upper layers of the backbone are trained with the head, on cached activations; the result is the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from graft.backbones import build
from graft.data import catalogue, pixels, split
from graft.data.decode import Resizing
from graft.errors import StaleError
from graft.features import store
from graft.models import assemble, saving
from graft.progress import say
from graft.training.fit import COLUMNS
from graft.training.views import fit_to

if TYPE_CHECKING:
    from graft.params import BackboneParams, DataParams, FinetuneParams
    from graft.training.fit import OnEpoch

GATE_IMAGES = 4
GATE_TOLERANCE = {"float32": 1e-3, "float16": 2e-2}
"""Largest difference of a probability between head on cached features and model on pixels, by extract.dtype."""

LOOSE = 0.3
"""The same where features were computed in bfloat16, while the model computes in float32."""


def run(
    data: DataParams,
    backbone: BackboneParams,
    finetune: FinetuneParams,
    seed: int,
    catalogue_path: Path,
    split_path: Path,
    features_path: Path,
    head_path: Path,
    model_path: Path,
    history_path: Path,
    on_epoch: OnEpoch,
) -> None:
    """Write the model on pixels and the history of fine-tuning (without rows where it is not enabled)."""
    images = catalogue.read(catalogue_path)
    used = images.used
    sides = split.read(split_path, used)
    targets = split.targets(used, images.classes)
    features = store.load(features_path, used["sha256"])

    loaded = build.build(backbone.name, backbone.alpha, backbone.input_size, backbone.weights, backbone.random_seed)
    if loaded.weights_sha256 != features.meta.weights_sha256:
        raise StaleError(
            f"{features_path}: was made with weights {features.meta.weights_sha256[:12]}, but backbone.weights now "
            f"gives {loaded.weights_sha256[:12]}. Run `dvc repro --force extract`."
        )
    head = saving.load(head_path)
    model = assemble.classifier(loaded, features.meta.pooling, head)
    resizing = Resizing(backbone.input_size, backbone.resize, backbone.interpolation)
    source, root = data.source, Path(data.path)

    sample = sides.rows["train"][:GATE_IMAGES]
    _, sample_pixels = next(pixels.batches(source, root, used.iloc[sample], resizing, GATE_IMAGES))
    sample_pixels = sample_pixels.astype(np.float32)
    tolerance = LOOSE if features.meta.precision != "float32" else GATE_TOLERANCE[features.meta.dtype]
    predicted = saving.predict(model, sample_pixels)
    saving.compare(
        "the head on cached features",
        saving.predict(head, store.plain(features.array, sample)),
        "the assembled model on pixels",
        predicted,
        tolerance,
    )

    history = pd.DataFrame(columns=list(COLUMNS))
    if finetune.enabled:
        cut, boundary = assemble.unfreeze(loaded, finetune.cut), features.boundary
        if boundary is None or features.meta.cut != cut:
            raise StaleError(
                f"{features_path}: holds activations at {features.meta.cut}, but finetune.cut is {cut}. "
                "Run `dvc repro`."
            )
        above = assemble.above(model, cut)
        trained = sum(w.numpy().size for w in above.trainable_weights)
        say(f"training from {cut} on: {trained:,} of {model.count_params():,} parameters")
        history = fit_to(boundary, sides, targets, above, finetune, seed, len(images.classes), on_epoch)
        predicted = saving.predict(model, sample_pixels)
        saving.compare(
            f"the layers from {cut} on, on cached activations",
            saving.predict(above, store.plain(boundary, sample)),
            "the fine-tuned model on pixels",
            predicted,
            max(tolerance, GATE_TOLERANCE["float16"]),
        )
    else:
        say("finetune.enabled is false: the model is the frozen backbone with the trained head")
    saving.save(model, model_path, sample_pixels, predicted)
    history_path.parent.mkdir(parents=True, exist_ok=True)
    history.to_csv(history_path, index=False, lineterminator="\n")
