"""The upper layers of the backbone are trained together with the head; the result is the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from graft.backbones import build
from graft.data import augment, catalogue, pixels, split
from graft.data.decode import Resizing
from graft.errors import StaleError
from graft.features import store
from graft.models import assemble, saving
from graft.progress import say
from graft.training.fit import COLUMNS, Examples, OnEpoch, fit

if TYPE_CHECKING:
    from graft.params import BackboneParams, DataParams, FinetuneParams

GATE_IMAGES = 32
GATE_TOLERANCE = {"float32": 1e-3, "float16": 2e-2}
"""Largest difference of a probability between head on cached features and model on pixels."""


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
    rows = sides.rows
    targets = split.targets(used, images.classes)
    features = store.load(features_path, used["sha256"])

    loaded = build.build(backbone.name, backbone.alpha, backbone.input_size, backbone.weights, backbone.random_seed)
    if loaded.weights_sha256 != features.meta.weights_sha256:
        raise StaleError(
            f"{features_path}: was made with weights {features.meta.weights_sha256[:12]}, but backbone.weights now "
            f"gives {loaded.weights_sha256[:12]}. Run `dvc repro --force extract`."
        )
    model = assemble.classifier(loaded, features.meta.pooling, saving.load(head_path))
    resizing = Resizing(backbone.input_size, backbone.resize, backbone.interpolation)
    source, root = data.source, Path(data.path)

    sample = rows["train"][:GATE_IMAGES]
    sample_pixels = next(pixels.batches(source, root, used.iloc[sample], resizing, GATE_IMAGES))
    saving.compare(
        "the head on cached features",
        np.asarray(saving.load(head_path)(np.asarray(features.array[sample], np.float32), training=False)),
        "the assembled model on pixels",
        np.asarray(model(sample_pixels.astype(np.float32), training=False)),
        GATE_TOLERANCE[features.meta.dtype],
    )

    history = pd.DataFrame(columns=list(COLUMNS))
    if finetune.enabled:
        cut = assemble.unfreeze(loaded, finetune.cut)
        trained = sum(w.numpy().size for w in model.trainable_weights)
        say(f"training from {cut} on: {trained:,} of {model.count_params():,} parameters")
        chosen = np.sort(np.concatenate([rows["train"], rows["validation"]]))
        with pixels.decoded(source, root, used.iloc[chosen], resizing) as decoded:
            place = np.zeros(len(used), np.int64)
            place[chosen] = np.arange(len(chosen))
            ranges = finetune.augment.model_dump()

            def plain(wanted: np.ndarray, epoch: int) -> np.ndarray:
                return np.asarray(decoded[place[wanted]], np.float32)

            def augmented(wanted: np.ndarray, epoch: int) -> np.ndarray:
                views = [
                    augment.view(decoded[place[row]], ranges, np.random.default_rng([seed, epoch, row]))
                    for row in wanted
                ]
                return np.stack(views).astype(np.float32)

            history = fit(
                model,
                finetune,
                seed,
                len(images.classes),
                Examples(rows["train"], targets[rows["train"]], sides.weights[rows["train"]]),
                augmented if finetune.augment.active else plain,
                Examples(rows["validation"], targets[rows["validation"]], sides.weights[rows["validation"]]),
                plain,
                on_epoch,
            )
    else:
        say("finetune.enabled is false: the model is the frozen backbone with the trained head")
    saving.save(model, model_path, sample_pixels.astype(np.float32))
    history_path.parent.mkdir(parents=True, exist_ok=True)
    history.to_csv(history_path, index=False, lineterminator="\n")
