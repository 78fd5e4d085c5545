"""A project with runs in a real store: one of a tiny network, and others whose answers are made up.

What made-up runs are logged from are files as a pass writes them, so that all that reads runs sees what it would see.
"""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from conftest import CLASSES, Pass, whole_pass
from graft.evaluation import metrics, predictions
from graft.evaluation.metrics import Judged

PER_CLASS = 30
"""Drawings; six of each class test."""

SMALL = {
    "backbone.name": "GreyPixels", "backbone.input_size": 24, "extract.pooling": None, "extract.views": 0,
    "train.head": "conv", "train.epochs": 1, "finetune.enabled": False, "finetune.cut": "auto",
}  # fmt: skip
"""No network below the head."""

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")


@dataclass
class Logged:
    """made: the files. ids: run ids, by what they were logged as."""

    made: Pass
    ids: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.made.folder

    def log(self, name: str) -> str:
        """The run of the files as they are now; its id."""
        from graft.tracking import run

        self.ids[name] = run.complete(self.made.params, self.made.paths, None).run_id
        return self.ids[name]

    def answer(self, name: str, wrong: int) -> str:
        """Log another model, which answers so many of the first test images wrongly, and all others rightly."""
        paths = self.made.paths
        table = pd.read_parquet(paths.predictions)
        rows = table[table["model"] == "head"].sort_values(["split", "path"], kind="stable")
        truth = rows["label"].map({one: place for place, one in enumerate(CLASSES)}).to_numpy(np.int64)
        test = np.flatnonzero(rows["split"] == "test")
        said = truth.copy()
        said[test[:wrong]] = (said[test[:wrong]] + 1) % len(CLASSES)
        scores = np.full((len(rows), len(CLASSES)), 0.1, np.float32)
        scores[np.arange(len(rows)), said] = 0.8
        figures: dict[str, Any] = {}
        tables = []
        for split in ("validation", "test"):
            chosen = (rows["split"] == split).to_numpy()
            judged = Judged(scores[chosen], truth[chosen], CLASSES, 2, 15, 0.95)
            figures[split] = metrics.compute(judged)
            of_split = rows[chosen]
            tables.append(
                predictions.table(
                    "head", split, list(of_split["path"]), list(of_split["label"]), scores[chosen], CLASSES
                )
            )
        predictions.write(tables, paths.predictions)
        paths.metrics.write_text(json.dumps({"head": figures}))
        with zipfile.ZipFile(paths.model, "a") as model:  # other bytes, which Keras reads as before
            model.writestr(f"{name}.txt", "made up")
        card = json.loads(paths.card.read_text())
        paths.card.write_text(json.dumps(card | {"weights_sha256": name.encode().hex().ljust(64, "0")}))
        return self.log(name)


@contextmanager
def entered(folder: Path) -> Iterator[None]:
    """Work there, with its own store."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME"):
            monkeypatch.delenv(name, raising=False)
        yield


def made(folder: Path) -> Logged:
    """A committed project with one pass, whose run is called `real`; `entered` must hold."""
    passed = whole_pass(folder, SMALL, PER_CLASS)
    data = {"path": str(folder / "images"), "hash": "md5", "md5": "d41d8c.dir"}
    (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"prepare": {"deps": [data], "outs": []}}}))
    (folder / ".gitignore").write_text("/*\n!/params.yaml\n!/.gitignore\n")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "state")):
        subprocess.run([*GIT, *command], cwd=folder, check=True, capture_output=True)
    logged = Logged(passed, {})
    logged.log("real")
    return logged
