"""How much the bundled backbone is worth on the digits: the table in pretrain/README.md.

    python pretrain/table.py OUT.json

70/30 stratified splits; of the 70 %, 10, 50 or all labels a class are used. Every number is a test accuracy.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from graft.backbones import build
from graft.config.schema import DataParams, Optimization
from graft.examples.sources import SOURCES
from graft.features.engines import ENGINES
from graft.inputs.image import augment
from graft.inputs.image.decode import Resizing, decode
from graft.inputs.image.spec import PIXELS, ImageInput
from graft.models import assemble, heads
from graft.training.fit import Examples, fit

SEEDS = range(5)
LABELS = (10, 50, None)
SIDE = 96
CNN_SIDE = 28

BASE: dict[str, Any] = {
    "momentum": 0.9,
    "weight_decay": 0.0,
    "warmup_steps": 0,
    "decay_to": 0.0,
    "batch_size": 32,
    "dtype_policy": "float32",
    "epochs": None,
    "label_smoothing": 0.0,
    "class_weights": "none",
    "monitor": "loss",
    "early_stopping_patience": None,
    "early_stopping_min_delta": 0.0,
    "refit": False,
}
HEAD = Optimization(**BASE, optimizer="adam", learning_rate=0.01, schedule="cosine", steps=600)
FINETUNE = Optimization(**BASE, optimizer="adam", learning_rate=0.0005, schedule="cosine", steps=400)
TUTORIAL = Optimization(**BASE, optimizer="sgd", learning_rate=0.001, schedule="constant", steps=500)
LONGER = Optimization(**BASE, optimizer="adam", learning_rate=0.001, schedule="cosine", steps=2000)
CUT = "block_13_expand"
AUGMENT = {
    "rotation_degrees": 10,
    "width_shift": 0.08,
    "height_shift": 0.08,
    "zoom": 0.1,
    "horizontal_flip": False,
    "brightness": 0.0,
    "contrast": 0.0,
    "fill_mode": "constant",
}

Method = Callable[[np.ndarray, np.ndarray, int], float]
"""(training rows, test rows, seed) -> test accuracy."""


def digits(side: int) -> tuple[np.ndarray, np.ndarray]:
    """((1797, side, side, 3) uint8, (1797,) int64)."""
    source = SOURCES["digits"]
    items = source.scan(DataParams.model_construct(path="."))
    reader = source.open(Path())
    resizing = Resizing(side, "stretch", "bilinear")
    pixels = np.stack([decode(reader.read(item.path), resizing) for item in items])
    return pixels, np.array([int(item.label) for item in items])


def rows(targets: np.ndarray, labels: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    train, test = train_test_split(np.arange(len(targets)), test_size=0.3, stratify=targets, random_state=seed)
    if labels is not None:
        order = np.random.default_rng(seed).permutation(train)
        train = np.concatenate([order[targets[order] == k][:labels] for k in range(10)])
    return train, test


def logistic(features: np.ndarray, targets: np.ndarray, scale: bool) -> Method:
    """Its penalty is chosen by cross-validation on the training part, for raw pixels and features alike."""

    def accuracy(train: np.ndarray, test: np.ndarray, seed: int) -> float:
        model: Any = LogisticRegressionCV(Cs=np.logspace(-2, 1, 4), cv=3, max_iter=200)
        if scale:
            model = make_pipeline(StandardScaler(), model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(features[train], targets[train])
        return float(model.score(features[test], targets[test]))

    return accuracy


def frozen(weights: str, pixels: np.ndarray) -> np.ndarray:
    model = build.feature_model(build.build("MobileNetV2", 0.35, SIDE, weights, 0), "avg")
    signature = ImageInput(Resizing(SIDE, "stretch", "bilinear")).signature()
    forward = ENGINES["tensorflow"](model, signature, "float32", False)
    return np.concatenate([forward.run({PIXELS: pixels[i : i + 64]})[0] for i in range(0, len(pixels), 64)])


NONE = Examples(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


def finetuned(features: np.ndarray, pixels: np.ndarray, targets: np.ndarray) -> Method:
    """As the default pipeline: linear head on features, then the layers from CUT on with augmentation."""

    def accuracy(train: np.ndarray, test: np.ndarray, seed: int) -> float:
        keras.backend.clear_session()
        examples = Examples(train, targets[train], np.ones(len(train), np.float32))
        head = heads.build("linear", {"pooling": "avg", "dropout": 0.2}, (1280,), 10, seed)
        fit(head, HEAD, seed, 10, examples, lambda r, e: features[r], NONE, lambda r, e: features[r])
        loaded = build.build("MobileNetV2", 0.35, SIDE, "bundled", 0)
        model = assemble.classifier(loaded, "avg", head)
        assemble.unfreeze(loaded, CUT)

        def views(chosen: np.ndarray, epoch: int) -> np.ndarray:
            seen = [augment.view(pixels[r], AUGMENT, np.random.default_rng([seed, epoch, r])) for r in chosen]
            return np.stack(seen).astype(np.float32)

        fit(model, FINETUNE, seed, 10, examples, views, NONE, views)
        return _accuracy(model, pixels[test].astype(np.float32), targets[test])

    return accuracy


def scratch(p: Optimization, targets: np.ndarray) -> Method:
    """The tutorial's CNN on pixels: Conv 32 3x3, max-pool, Dense 64, dropout 0.5, softmax."""
    pixels = digits(CNN_SIDE)[0][..., :1].astype(np.float32) / 255
    values = {"filters": 32, "kernel_size": 3, "pool_size": 2, "hidden_units": 64, "dropout": 0.5}

    def accuracy(train: np.ndarray, test: np.ndarray, seed: int) -> float:
        keras.backend.clear_session()
        model = heads.build("conv", values, (CNN_SIDE, CNN_SIDE, 1), 10, seed)
        fit(
            model,
            p,
            seed,
            10,
            Examples(train, targets[train], np.ones(len(train), np.float32)),
            lambda r, e: pixels[r],
            NONE,
            lambda r, e: pixels[r],
        )
        return _accuracy(model, pixels[test], targets[test])

    return accuracy


def _accuracy(model: keras.Model, inputs: np.ndarray, targets: np.ndarray) -> float:
    return float((model.predict(inputs, verbose=0).argmax(1) == targets).mean())


def main(out: Path) -> None:
    pixels, targets = digits(SIDE)
    raw = digits(8)[0][..., 0].reshape(len(targets), -1) / 255
    random, bundled = frozen("random", pixels), frozen("bundled", pixels)
    methods: dict[str, Method] = {
        "logistic regression on raw pixels": logistic(raw, targets, scale=False),
        "random frozen": logistic(random, targets, scale=True),
        "bundled frozen": logistic(bundled, targets, scale=True),
        "bundled fine-tuned": finetuned(bundled, pixels, targets),
        "tutorial CNN from scratch, SGD 0.001, 500 steps": scratch(TUTORIAL, targets),
        "same CNN, Adam 0.001, 2,000 steps": scratch(LONGER, targets),
    }
    table: dict[str, dict[str, list[float]]] = {}
    for name, method in methods.items():
        table[name] = {}
        for labels in LABELS:
            began = time.time()
            accuracies = [method(*rows(targets, labels, seed), seed) for seed in SEEDS]
            table[name][str(labels or "all")] = accuracies
            mean, spread = np.mean(accuracies), np.std(accuracies, ddof=1)
            print(f"{name} | {labels or 'all'} | {mean:.4f} ± {spread:.4f} | {time.time() - began:.0f} s", flush=True)
        out.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
