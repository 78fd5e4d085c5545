"""Pretrain MobileNetV2 0.35 to tell the drawn characters apart, small images first.

python pretrain/train.py OUT_FOLDER     # images, weights, log.csv
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf
import yaml

import render

HERE = Path(__file__).resolve().parent
WEIGHTS = "mobilenet_v2_0.35_glyphs.weights.h5"


def backbone(alpha: float, batch_norm_momentum: float) -> keras.Model:
    """MobileNetV2 without top, random weights, for any input size: pixels in [-1, 1] to feature maps."""
    model = keras.applications.MobileNetV2(input_shape=(None, None, 3), alpha=alpha, include_top=False, weights=None)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
    return model


def classifier(base: keras.Model, top: keras.layers.Layer, canvas: int, side: int) -> keras.Model:
    """uint8 grey (n, canvas, canvas, 1) to logits, computed at `side` pixels."""
    inputs = keras.Input((canvas, canvas, 1))
    x = keras.layers.Resizing(side, side, interpolation="bilinear")(inputs)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = keras.layers.Concatenate()([x, x, x])
    x = keras.layers.GlobalAveragePooling2D()(base(x))
    return keras.Model(inputs, top(x))


def batches(images: np.ndarray, labels: np.ndarray, size: int, seed: int) -> tf.data.Dataset:
    with tf.device("CPU"):
        pixels, classes = tf.constant(images), tf.constant(labels)
    return (
        tf.data.Dataset.range(len(labels))
        .shuffle(len(labels), seed=seed)
        .repeat()
        .batch(size, drop_remainder=True)
        .map(lambda i: (tf.gather(pixels, i)[..., None], tf.gather(classes, i)))
        .prefetch(4)
    )


def pack(base: keras.Model, path: Path) -> None:
    """Write weights as float16: half the size; the rounding moves features by 0.6 % of their mean."""
    full = path.with_name(f"float32-{path.name}")
    base.save_weights(full)
    with h5py.File(full) as source, h5py.File(path, "w") as target:

        def copy(name: str, node: h5py.Dataset | h5py.Group) -> None:
            if isinstance(node, h5py.Dataset):
                target.create_dataset(name, data=node[()].astype(np.float16))
            else:
                target.require_group(name).attrs.update(node.attrs)

        source.visititems(copy)


def run(params: dict[str, Any], out: Path) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    seed, p, t = params["seed"], params["glyphs"], params["train"]
    keras.utils.set_random_seed(seed)
    began = time.time()
    glyphs = render.load(p["blocks"], p["merge_above"])
    images, labels = render.render(glyphs, p, seed, out / "glyphs.npy")
    rendered = time.time() - began
    print(f"drew {len(images)} images of {len(glyphs.names)} classes in {rendered:.0f} s", flush=True)

    base = backbone(t["alpha"], t["batch_norm_momentum"])
    top = keras.layers.Dense(len(glyphs.names), name="characters")
    steps = [phase["images"] // t["batch_size"] for phase in t["phases"]]
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, sum(steps) - t["warmup_steps"], warmup_target=t["learning_rate"], warmup_steps=t["warmup_steps"]
    )
    optimizer = keras.optimizers.get(
        {
            "class_name": t["optimizer"],
            "config": {"learning_rate": schedule, "weight_decay": t["weight_decay"]},
        }
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=t["label_smoothing"])
    data = iter(
        batches(np.asarray(images), labels, t["batch_size"], seed).map(
            lambda x, y: (x, tf.one_hot(y, len(glyphs.names)))
        )
    )
    curve = []
    for phase, n in zip(t["phases"], steps, strict=True):
        model = classifier(base, top, p["canvas"], phase["input_size"])
        model.compile(optimizer, loss, metrics=["accuracy"])
        model.reset_metrics()
        for done in range(0, n, 500):
            chunk = min(500, n - done)
            start = time.time()
            totals = np.zeros(2)
            totals = np.zeros(2)
            for _ in range(chunk):
                x, y = next(data)
                result = model.train_on_batch(x, y, return_dict=True)
                totals += result["loss"], result["accuracy"]
            row = {
                "input_size": phase["input_size"],
                "step": done + chunk,
                "loss": totals[0] / chunk,
                "accuracy": totals[1] / chunk,
                "images_per_second": chunk * t["batch_size"] / (time.time() - start),
            }
            curve.append(row)
            print(json.dumps(row), flush=True)
    pack(base, out / WEIGHTS)
    record = {
        "classes": len(glyphs.names),
        "class_names": list(glyphs.names),
        "render_seconds": round(rendered),
        "total_seconds": round(time.time() - began),
        "curve": curve,
    }
    (out / "record.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return record


if __name__ == "__main__":
    run(yaml.safe_load((HERE / "params.yaml").read_text()), Path(sys.argv[1]))
