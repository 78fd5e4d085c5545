"""Data sets of any size for growth.py: small pictures in one parquet, and features of them in graft's cache."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common import write_params

FOLDER, FILE = "photos", "images.parquet"

PARAMS = {
    "data.source": "manifest", "data.path": FOLDER, "data.manifest.file": FILE, "data.manifest.columns.path": "image",
    "backbone.name": "MobileNet", "backbone.alpha": 0.25, "backbone.input_size": 32, "backbone.weights": "random",
    "finetune.enabled": False, "extract.views": 0,
}  # fmt: skip

ROWS = 1000
"""Of a row group, as Hugging Face's `datasets` writes them."""

COPIES = 100
"""One image in so many is nearly the one before."""

BLOCK = 10_000
"""Features that are made at a time."""


def make(folder: Path, n: int, n_classes: int) -> None:
    """A project whose images, 28 x 28 grey pixels as PNG, lie in one file: a million of them would burden a disk."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_params(folder, PARAMS)
    (folder / FOLDER).mkdir()
    schema = pa.schema({"image": pa.binary(), "label": pa.string()})
    with pq.ParquetWriter(folder / FOLDER / FILE, schema, compression="none") as file:
        pictures = _pictures(n)
        for start in range(0, n, ROWS):
            numbers = range(start, min(start + ROWS, n))
            labels = [f"class{number // 2 % n_classes:03d}" for number in numbers]
            file.write_table(pa.table([[next(pictures) for _ in numbers], labels], schema))


def _pictures(n: int) -> Iterator[bytes]:
    rng = np.random.default_rng(1)
    pixels = np.zeros((28, 28), np.uint8)
    for number in range(n):
        if number % COPIES == COPIES - 1:
            pixels = np.minimum(pixels, 250) + np.uint8(3)
        else:
            coarse = Image.fromarray(rng.integers(0, 256, (7, 7), np.uint8))
            pixels = np.asarray(coarse.resize((28, 28), Image.Resampling.BICUBIC))
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG", compress_level=1)
        yield out.getvalue()


def know(params: Any, paths: Any) -> None:
    """Put a verdict on each image into the cache, as if it had been examined: examining takes each its time."""
    from graft.examining.image.examine import COLOUR_SIDE, Verdict
    from graft.examples.checks.verdict_cache import VerdictCache
    from graft.examples.sources import SOURCES

    source, kept = SOURCES[params.data.source], VerdictCache()
    named = [item.path for item in source.scan(params.data) if item.problem is None]
    reader = source.open(Path(params.data.path))
    rng = np.random.default_rng(1)
    grey = bytes([128]) * (3 * COLOUR_SIDE**2)
    for start in range(0, len(named), BLOCK):
        known = []
        for number, path in enumerate(named[start : start + BLOCK], start):
            content = reader.read(path)
            if number % COPIES != COPIES - 1:
                looks = rng.bytes(32)
                copied = looks[:-1] + bytes([looks[-1] ^ 7])
            else:
                looks = copied
            verdict = Verdict(28, 28, "PNG", looks, grey)
            known.append((reader.stamp(path), hashlib.sha256(content).hexdigest(), len(content), verdict))
        kept.keep(known)


def fill(params: Any, paths: Any) -> None:
    """Put a feature of each image into the cache, as if it had been computed: those of a class lie around a place."""
    from graft.backbones import networks
    from graft.examples import dataset
    from graft.features import plan
    from graft.features.cache import FeatureCache

    data = dataset.read(paths.catalogue, paths.split)
    loaded = networks.built(params.backbone, params.extract.pooling, params.extract.taps)
    planned = plan.make(params, paths, loaded, None, plan.engine(params), list(data.used["sha256"]))
    output = planned.outputs[plan.FEATURES]
    kept = FeatureCache(output.keys[0], output.part)
    rng = np.random.default_rng(0)
    places = rng.normal(size=(len(data.classes), *output.part.shape)).astype(output.part.dtype)
    sha256s = data.used["sha256"].to_numpy(object)
    order = np.argsort(sha256s)  # LMDB writes neighbours in one go
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        noise = rng.normal(size=(len(rows), *output.part.shape)).astype(output.part.dtype)
        values = places[data.targets[rows]] + 4 * noise
        kept.put([((sha256s[row], 0), value) for row, value in zip(rows, values, strict=True)])
