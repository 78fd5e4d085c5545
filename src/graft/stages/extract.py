"""Each image goes through the frozen backbone once; its features are kept."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.backbones import build
from graft.data import catalogue, pixels
from graft.data.decode import Resizing
from graft.errors import BackboneError
from graft.features import cache, engines, store
from graft.progress import say, track

if TYPE_CHECKING:
    import pandas as pd

    from graft.params import BackboneParams, DataParams, ExtractParams

LOOK_UP = 1024
"""Images whose features are looked up at a time."""


def run(
    data: DataParams, backbone: BackboneParams, extract: ExtractParams, catalogue_path: Path, features_path: Path
) -> None:
    """Write the features of the catalogue's used images, row by row in its order."""
    images = catalogue.read(catalogue_path).used
    loaded = build.build(backbone.name, backbone.alpha, backbone.input_size, backbone.weights, backbone.random_seed)
    say(f"{backbone.name}, weights {backbone.weights} (sha256 {loaded.weights_sha256[:12]})")
    engine = engines.resolve(extract.engine)
    try:
        _extract(data.source, Path(data.path), backbone, extract, engine, loaded, images, features_path)
    except RuntimeError as error:
        engine = engines.instead(extract.engine, engine, extract.precision, error)
        _extract(data.source, Path(data.path), backbone, extract, engine, loaded, images, features_path)


def _extract(
    source: str,
    root: Path,
    backbone: BackboneParams,
    extract: ExtractParams,
    engine: str,
    loaded: build.Loaded,
    images: pd.DataFrame,
    features_path: Path,
) -> None:
    """Raises RuntimeError where the engine cannot run the network."""
    model = build.feature_model(loaded, extract.pooling)
    meta = store.Meta(
        backbone=backbone.name,
        alpha=backbone.alpha,
        weights=backbone.weights,
        weights_sha256=loaded.weights_sha256,
        input_size=backbone.input_size,
        resize=backbone.resize,
        interpolation=backbone.interpolation,
        preprocessing=loaded.row.preprocessing,
        engine=engine,
        precision=extract.precision,
        pooling=extract.pooling,
        dtype=extract.dtype,
        shape=(len(images), *model.output_shape[1:]),
        images_sha256=store.images_digest(images["sha256"]),
    )
    known = cache.FeatureCache(meta.fingerprint | _computed_by(engine), meta.shape[1:], extract.dtype)
    with store.create(features_path, meta.shape, extract.dtype) as array:
        missing = _fill(array, known, list(images["sha256"]))
        say(f"{len(images) - sum(map(len, missing.values()))} of {len(images)} images have features in the cache")
        if missing:
            forward = engines.ENGINES[engine](model, extract.precision)
            rows = images.loc[[first for first, *_ in missing.values()]]
            resizing = Resizing(backbone.input_size, backbone.resize, backbone.interpolation)
            batches = pixels.batches(source, root, rows, resizing, extract.batch_size)
            done = 0
            for batch in track(batches, len(rows), "extracting", len):
                features = forward(batch).astype(extract.dtype)
                _require_finite(features, backbone.name)
                sha256s = list(rows["sha256"].iloc[done : done + len(batch)])
                known.put(sha256s, features)
                for sha256, feature in zip(sha256s, features, strict=True):
                    array[missing[sha256]] = feature
                done += len(batch)
    store.write_meta(features_path, meta)
    for one in cache.prune(cache.limit_bytes(), keep_last=True):
        say(f"features of {one.what['backbone']} left the cache ({one.n_bytes / 1e6:.0f} MB), to stay within its limit")


def _fill(array: np.ndarray, known: cache.FeatureCache, sha256s: list[str]) -> dict[str, list[int]]:
    """Write what is known into `array`; returns sha256 -> rows of what is not."""
    missing: dict[str, list[int]] = {}
    for start in range(0, len(sha256s), LOOK_UP):
        wanted = sha256s[start : start + LOOK_UP]
        for row, features in enumerate(known.get(wanted), start=start):
            if features is None:
                missing.setdefault(sha256s[row], []).append(row)
            else:
                array[row] = features
    return missing


def _computed_by(engine: str) -> dict[str, str]:
    """Libraries and processor, since late decimals of a feature depend on them. An engine is called as its package."""
    return {"processor": cache.processor(), "pillow": version("pillow"), engine: version(engine)}


def _require_finite(features: np.ndarray, name: str) -> None:
    if not np.isfinite(features).all():
        raise BackboneError(
            f"backbone.weights: {name} gives features that are no numbers; the weights are damaged, or not its own."
        )
