"""Each image goes through the frozen backbone once; its features are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.backbones import build
from graft.data import catalogue, pixels
from graft.data.decode import Resizing
from graft.errors import BackboneError
from graft.features import store
from graft.features.engines import ENGINES
from graft.progress import say, track

if TYPE_CHECKING:
    from graft.params import BackboneParams, DataParams, ExtractParams


def run(
    data: DataParams, backbone: BackboneParams, extract: ExtractParams, catalogue_path: Path, features_path: Path
) -> None:
    """Write the features of the catalogue's used images, row by row in its order."""
    images = catalogue.read(catalogue_path).used
    loaded = build.build(backbone.name, backbone.alpha, backbone.input_size, backbone.weights, backbone.random_seed)
    say(f"{backbone.name}, weights {backbone.weights} (sha256 {loaded.weights_sha256[:12]})")
    model = build.feature_model(loaded, extract.pooling)
    forward = ENGINES[extract.engine](model)
    shape = (len(images), *model.output_shape[1:])
    resizing = Resizing(backbone.input_size, backbone.resize, backbone.interpolation)

    with store.create(features_path, shape, extract.dtype) as array:
        done = 0
        batches = pixels.batches(data.source, Path(data.path), images, resizing, extract.batch_size)
        for batch in track(batches, len(images), "extracting", len):
            features = forward(batch)
            _require_finite(features, backbone.name)
            array[done : done + len(batch)] = features
            done += len(batch)
    meta = store.Meta(
        backbone=backbone.name,
        alpha=backbone.alpha,
        weights=backbone.weights,
        weights_sha256=loaded.weights_sha256,
        input_size=backbone.input_size,
        resize=backbone.resize,
        interpolation=backbone.interpolation,
        preprocessing=loaded.row.preprocessing,
        engine=extract.engine,
        pooling=extract.pooling,
        dtype=extract.dtype,
        shape=shape,
        images_sha256=store.images_digest(images["sha256"]),
    )
    store.write_meta(features_path, meta)


def _require_finite(features: np.ndarray, name: str) -> None:
    if not np.isfinite(features).all():
        raise BackboneError(
            f"backbone.weights: {name} gives features that are no numbers; the weights are damaged, or not its own."
        )
