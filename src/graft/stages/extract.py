"""Each image, and each of its views, goes through the frozen backbone once; what comes out is kept."""

from __future__ import annotations

import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.backbones import build, cuts
from graft.data import catalogue, pixels
from graft.data.decode import Resizing
from graft.errors import BackboneError
from graft.features import cache, engines, store
from graft.progress import say, track

if TYPE_CHECKING:
    import pandas as pd

    from graft.params import BackboneParams, DataParams, ExtractParams, FinetuneParams

LOOK_UP = 256
"""Images whose features are looked up at a time."""

KEEP_EVERY_SECONDS = 2.0
"""What was computed is written to the cache this often: all that a killed process loses."""


def run(
    data: DataParams,
    backbone: BackboneParams,
    extract: ExtractParams,
    finetune: FinetuneParams,
    catalogue_path: Path,
    features_path: Path,
) -> None:
    """Write the features of the catalogue's used images in its order, and what crosses at `finetune.cut`, if any."""
    images = catalogue.read(catalogue_path).used
    loaded = build.build(backbone.name, backbone.alpha, backbone.input_size, backbone.weights, backbone.random_seed)
    say(f"{backbone.name}, weights {backbone.weights} (sha256 {loaded.weights_sha256[:12]})")
    cut = None
    if finetune.cut is not None:
        cut_points = cuts.derive(loaded.model)
        cut = cuts.named(cut_points, finetune.cut)
        _note_size(cut_points.points, cut, backbone)
    engine = engines.resolve(extract.engine)
    while True:
        try:
            _extract(data.source, Path(data.path), backbone, extract, cut, engine, loaded, images, features_path)
            return
        except engines.CannotRunError as error:
            engine = engines.instead(extract.engine, engine, extract.precision, error)


def _extract(
    source: str,
    root: Path,
    backbone: BackboneParams,
    extract: ExtractParams,
    cut: str | None,
    engine: str,
    loaded: build.Loaded,
    images: pd.DataFrame,
    features_path: Path,
) -> None:
    """Raises CannotRunError where the engine cannot run the network."""
    model = build.feature_model(loaded, extract.pooling, cut)
    shapes = [tuple(output.shape[1:]) for output in model.outputs]
    parts = [cache.Part(shapes[0], extract.dtype), *(cache.Part(s, store.BOUNDARY_DTYPE) for s in shapes[1:])]
    entries = (len(images), 1 + extract.views)
    meta = store.Meta(
        backbone=backbone.name,
        alpha=backbone.alpha,
        weights=backbone.weights,
        weights_sha256=loaded.weights_sha256,
        input_size=backbone.input_size,
        resize=backbone.resize,
        interpolation=backbone.interpolation,
        preprocessing=loaded.row.preprocessing,
        cut=cut,
        engine=engine,
        precision=extract.precision,
        pooling=extract.pooling,
        dtype=extract.dtype,
        views=extract.views,
        augment=extract.augment.model_dump() if extract.views else None,
        shape=(*entries, *shapes[0]),
        boundary_shape=(*entries, *shapes[1]) if cut else None,
        images_sha256=store.images_digest(images["sha256"]),
    )
    known = _Known(meta, parts)
    sha256s = list(images["sha256"])
    names = (store.ARRAY, store.BOUNDARY)[: len(parts)]
    arrays = _Arrays(features_path, names, entries, parts, sha256s)
    try:
        missing = _fill(arrays, known, sha256s, entries[1])
        n_missing = sum(map(len, missing.values()))
        n_wanted = len(set(sha256s)) * entries[1]
        views = f" and {extract.views} views of each" if extract.views else ""
        say(f"{len(images)} images{views}: {n_wanted - n_missing} of {n_wanted} are in the cache")
        if missing:
            forward = engines.ENGINES[engine](model, extract.precision)
            rows = images.loc[[arrays.rows[sha256][0] for sha256 in missing]]
            batches = pixels.batches(
                source,
                root,
                rows,
                Resizing(backbone.input_size, backbone.resize, backbone.interpolation),
                extract.batch_size,
                list(missing.values()),
                meta.augment,
            )
            done = engines.mapped(forward, batches)
            for which, outputs in track(done, n_missing, "extracting", lambda batch: len(batch[0])):
                columns = [_stored(o, part, backbone.name) for o, part in zip(outputs, parts, strict=True)]
                keys = [(rows["sha256"].iloc[i], view) for i, view in which]
                known.later(keys, columns)
                arrays.put(keys, zip(*columns, strict=True))
    finally:
        known.keep()
        arrays.close()
    store.write_meta(features_path, meta)
    for one in cache.prune(cache.limit_bytes(), keep_last=True):
        say(f"features of {one.what['backbone']} left the cache ({one.n_bytes / 1e6:.0f} MB), to stay within its limit")


def _note_size(points: dict[str, cuts.Cut], cut: str, backbone: BackboneParams) -> None:
    """A word where a cut keeps more than the images themselves, and a later one would not."""
    bytes_at = {name: cache.Part(point.shape, store.BOUNDARY_DTYPE).n_bytes for name, point in points.items()}
    image_bytes = backbone.input_size**2 * 3
    smaller = [name for name, n in bytes_at.items() if n <= image_bytes and points[name].layers < points[cut].layers]
    if bytes_at[cut] > image_bytes and smaller:
        say(
            f"note: activations at {cut} take {bytes_at[cut] / 1e3:,.0f} kB of disk for each image and view, more "
            f"than its {image_bytes / 1e3:,.0f} kB of pixels; at {smaller[0]}, the next cut that takes less than that, "
            f"{bytes_at[smaller[0]] / 1e3:,.0f} kB"
        )


class _Arrays:
    """The arrays on disk, by the content of images: equal images stand in several rows."""

    def __init__(
        self,
        folder: Path,
        names: Iterable[str],
        entries: tuple[int, int],
        parts: list[cache.Part],
        sha256s: list[str],
    ) -> None:
        self.rows: dict[str, list[int]] = {}
        for row, sha256 in enumerate(sha256s):
            self.rows.setdefault(sha256, []).append(row)
        self._writers = [
            store.Writer(folder / name, (*entries, *part.shape), part.dtype)
            for name, part in zip(names, parts, strict=True)
        ]

    def put(self, keys: list[cache.Key], values: Iterable[tuple[np.ndarray, ...]]) -> None:
        for (sha256, view), arrays in zip(keys, values, strict=True):
            for row in self.rows[sha256]:
                for writer, array in zip(self._writers, arrays, strict=True):
                    writer.put(row, view, array)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


class _Known:
    """The cache: images as they are, and views, which depend on the ranges of augmentation too."""

    def __init__(self, meta: store.Meta, parts: list[cache.Part]) -> None:
        self._caches = [
            cache.FeatureCache(meta.fingerprint(augmented) | _computed_by(meta.engine), parts)
            for augmented in (False, True)[: 2 if meta.views else 1]
        ]
        self._waiting: list[tuple[cache.Key, tuple[np.ndarray, ...]]] = []
        self._kept = time.monotonic()

    def get(self, keys: list[cache.Key]) -> list[tuple[np.ndarray, ...] | None]:
        """Of keys that are all of view 0, or none is."""
        return self._caches[keys[0][1] > 0].get(keys)

    def later(self, keys: list[cache.Key], columns: list[np.ndarray]) -> None:
        """Keep the arrays of `keys`, together with others."""
        self._waiting += zip(keys, zip(*columns, strict=True), strict=True)
        if time.monotonic() - self._kept > KEEP_EVERY_SECONDS:
            self.keep()

    def keep(self) -> None:
        for augmented, one in enumerate(self._caches):
            values = [(key, arrays) for key, arrays in self._waiting if (key[1] > 0) == augmented]
            if values:
                one.put(values)
        self._waiting = []
        self._kept = time.monotonic()


def _fill(arrays: _Arrays, known: _Known, sha256s: list[str], n_views: int) -> dict[str, list[int]]:
    """Write what is known into `arrays`; returns sha256 -> its views that are not known, in the images' order."""
    missing: dict[str, list[int]] = {}
    unique = list(arrays.rows)
    for start in range(0, len(unique), LOOK_UP):
        for view in range(n_views):
            keys = [(sha256, view) for sha256 in unique[start : start + LOOK_UP]]
            for key, values in zip(keys, known.get(keys), strict=True):
                if values is None:
                    missing.setdefault(key[0], []).append(view)
                else:
                    arrays.put([key], [values])
    return missing


def _computed_by(engine: str) -> dict[str, str]:
    """Libraries and processor, since late decimals of a feature depend on them. An engine is called as its package."""
    libraries = {name: version(name) for name in ("pillow", "simplejpeg", "opencv-python-headless", engine)}
    return {"processor": cache.processor(), **libraries}


def _stored(output: np.ndarray, part: cache.Part, name: str) -> np.ndarray:
    """An engine's output as it is stored. Raises BackboneError where it is not finite."""
    if not np.isfinite(output).all():
        raise BackboneError(
            f"backbone.weights: {name} gives features that are no numbers; the weights are damaged, or not its own."
        )
    with np.errstate(over="ignore"):
        stored = output.astype(part.dtype)
    if not np.isfinite(stored).all():
        raise BackboneError(
            f"{name} gives values up to {np.abs(output).max():.3g}, which float16 cannot hold (65,504 at most). "
            "Set extract.dtype: float32 for features; for the activations at finetune.cut, choose another cut."
        )
    return stored
