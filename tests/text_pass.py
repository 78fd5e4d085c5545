"""A whole pass on generated texts and a tiny network, for tests of what is done with its model."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

import text_network
from conftest import Pass, changed, tiny_params, written
from graft.backbones import encoders

CLASSES = ("lost", "top_up", "transfer")
KEYWORDS = {"lost": "lost card", "top_up": "top up", "transfer": "transfer money"}
"""Class -> what its texts say."""


def text(kind: str, number: int) -> str:
    """One of a class: its words among others."""
    rng = np.random.default_rng(number)
    others = [str(word) for word in rng.choice(["my", "is", "the", "where", "not", "how", "do", "i"], 3, replace=False)]
    return f"{' '.join(others)} {KEYWORDS[kind]} {''.join(rng.choice(list('abcdefgh'), 4))}?"


HOSTILE = " <script>alert(1)</script><img src=x>"


def write_table(path: Path, per_class: int, pair: bool = False, hostile: bool = False) -> None:
    """Columns text, second where there are pairs, and label. hostile: texts hold markup."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", *(["second"] if pair else []), "label"])
        for k, kind in enumerate(CLASSES):
            for i in range(per_class):
                number = 1000 * k + i
                first = text(kind, number) + (HOSTILE if hostile else "")
                rows.writerow([first, *([f"my {number} the {'card' * (i % 3)}"] if pair else []), kind])


def whole_text_pass(
    folder: Path, changes: dict[str, Any], per_class: int, pair: bool = False, hostile: bool = False
) -> Pass:
    """All stages in this process, without DVC, on a table of texts."""
    from graft.runtime.computing.tensorflow import import_tensorflow
    from graft.stages import evaluate, extract, finetune, prepare, train

    import_tensorflow()  # as every command does: what the stages compute is exact
    network = text_network.write(folder / "bert")
    write_table(folder / "texts" / "all.csv", per_class, pair, hostile)
    of_text = {
        "data.kind": "text", "data.source": "manifest", "data.path": str(folder / "texts"),
        "data.manifest.file": "all.csv", "data.manifest.columns.text": "text",
        "data.manifest.columns.second": "second" if pair else None,
        "data.manifest.columns.split": None, "data.manifest.columns.group": None, "data.manifest.columns.weight": None,
        "data.split.method": "fractions", "data.duplicates.near_similarity": 1.0, "backbone.name": "Bert",
        "backbone.weights": str(network), "backbone.weights_sha256": encoders.digest(network),
        "backbone.max_tokens": 32, "extract.pooling": "avg", "extract.views": 0, "finetune.cut": "block_1",
        "train.batch_size": 1, "finetune.batch_size": 1,  # one shard: most of the time is that of making a step's graph
    }  # fmt: skip
    params, paths = written(folder, changed(tiny_params(), of_text | changes))
    prepare.run(params, paths)
    extract.run(params, paths)
    train.run(params, paths, lambda epoch, values: None)
    finetune.run(params, paths, lambda epoch, values: None)
    evaluate.run(params, paths)
    return Pass(params, paths, folder)
