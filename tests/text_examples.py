"""A few texts of three classes and a tiny network that reads them: what commands are tried with, in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

import text_network
from conftest import changed, default_params, params_of, paths_in
from graft.backbones import encoders

WORDS = {"card": ("card", "lost", "my"), "topping": ("top", "up", "how"), "where": ("where", "money", "transfer")}
"""class -> words that its texts are of, most of them."""

MAX_TOKENS = 12


def text(label: str, seed: int, length: int = 8) -> str:
    rng = np.random.default_rng(seed)
    others = [word for words in WORDS.values() for word in words]
    return " ".join(rng.choice(WORDS[label] if rng.random() < 0.8 else others) for _ in range(length))


def write(folder: Path, per_class: int = 12, **beside: str) -> Path:
    """folder/texts.csv; the words of a class are all over its texts. beside: path of a text -> its label, added."""
    rows = [(text(label, 1000 * k + i), label) for k, label in enumerate(WORDS) for i in range(per_class)]
    rows += list(beside.items())
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(folder / "texts.csv", index=False)
    return folder


def tree(folder: Path, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """params.yaml for them, shrunk; the network is in folder/network.

    A batch is one text, and so one shard: making the graph of a step takes most of the time.
    """
    network = text_network.write(folder / "network")
    small = {
        "data.kind": "text", "data.source": "manifest", "data.path": str(folder / "texts"),
        "data.manifest.file": "texts.csv", "data.manifest.columns.text": "text", "data.duplicates.near_similarity": 1.0,
        "data.duplicates.conflicting_labels.identical": "keep",
        "backbone.name": "Bert", "backbone.alpha": None, "backbone.weights": str(network),
        "backbone.weights_sha256": encoders.digest(network), "backbone.max_tokens": MAX_TOKENS,
        "extract.views": 0, "extract.engine": "tensorflow", "train.head": "ridge", "train.epochs": 2,
        "train.batch_size": 1, "finetune.cut": "block_1", "finetune.epochs": 1, "finetune.batch_size": 1,
        "evaluate.top_k": 2,
    }  # fmt: skip
    return changed(default_params(), small | (changes or {}))


def prepared(folder: Path, changes: dict[str, Any] | None = None) -> tuple[Any, Any]:
    """Parameters and paths of texts on which `prepare` has run; params.yaml and dvc.yaml lie in the folder."""
    import tensorflow as tf

    from graft.runtime.computing.tensorflow import EXACT
    from graft.stages import prepare

    tf.config.optimizer.set_experimental_options(EXACT)  # as every command does, before it computes
    if not (folder / "texts").exists():
        write(folder / "texts")
    found = tree(folder, changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(found, sort_keys=False))
    params, paths = params_of(tree=found), paths_in(folder)
    named = {name: str(path.relative_to(folder)) for name, path in vars(paths).items()}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"vars": [{"paths": named}]}))
    prepare.run(params, paths)
    return params, paths


def trained(folder: Path, changes: dict[str, Any] | None = None) -> tuple[Any, Any]:
    """The same, on which all stages up to `finetune` have run."""
    from graft.stages import extract, finetune, train

    params, paths = prepared(folder, changes)
    extract.run(params, paths)
    train.run(params, paths, lambda epoch, metrics: None)
    finetune.run(params, paths, lambda epoch, metrics: None)
    return params, paths
