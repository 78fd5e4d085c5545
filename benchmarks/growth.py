"""How the stages grow with the number of images: seconds, memory and disk at 10,000, 100,000 and 1,000,000 of them.

    python benchmarks/growth.py [--sizes 10000 100000 1000000] [--width 320] [--classes 100]

`train` (a linear head for two epochs, and ridge) and `evaluate` get a catalogue, a split and features that are made up:
whether they grow does not depend on where the features come from. Each stage is a process of its own. Memory is what
it holds itself (anonymous pages), at most, beyond what it held before the stage began; what is mapped from a file can
be taken away at any time. CPU seconds are those of all threads together: they tell of a machine that others use, too.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common import write_params
from record import keep

STAGES = ("train linear", "train ridge", "evaluate")
BLOCK = 10_000
"""Features that are made at a time."""

PARAMS = {"data.source": "folder", "data.path": "photos", "finetune.enabled": False, "extract.views": 0}


def _paths(folder: Path) -> Any:
    """Of the project, whatever directory this process is in."""
    from graft.pipeline import layout

    relative = layout.read(folder / "dvc.yaml")
    return layout.Paths(**{name: folder / getattr(relative, name) for name in layout.NAMES})


def make(folder: Path, n: int, width: int, n_classes: int) -> None:
    """A project after `extract`: features of a class lie around a place of its own."""
    from graft.config.load import load
    from graft.examples import catalogue, split
    from graft.features import plan, store
    from graft.training import history

    write_params(folder, PARAMS)
    params, paths = load(folder / "params.yaml"), _paths(folder)
    number = np.arange(n)
    classes = number % n_classes
    table = pd.DataFrame(
        {
            "path": [f"class{k:03d}/{i:07d}.jpg" for i, k in enumerate(classes)],
            "sha256": [hashlib.sha256(str(i).encode()).hexdigest() for i in number],
            "bytes": 30_000, "width": 400, "height": 534, "label": [f"class{k:03d}" for k in classes],
            "state": catalogue.USED, "reason": "", "detail": "",
        }
    )  # fmt: skip
    catalogue.Catalogue(table).write(paths.catalogue)
    side = np.where(number % 10 == 0, "test", np.where(number % 10 == 1, "validation", "train"))
    split.write(pd.DataFrame({"path": table["path"], "label": table["label"], "split": side}), paths.split)
    declared = plan.declared(params, plan.FEATURES)
    special = {key: declared.pop(key) for key in plan.SPECIAL if key in declared}
    meta = store.Meta(declared, special, (n, 1, width), "float32", store.examples_digest(table["sha256"]))
    store.begin(paths.features)
    writer = store.Writer(paths.features / store.ARRAY, meta.shape, meta.dtype)
    rng = np.random.default_rng(0)
    places = rng.normal(size=(n_classes, width)).astype("float32")
    for start in range(0, n, BLOCK):
        rows = classes[start : start + BLOCK]
        values = places[rows] + 4 * rng.normal(size=(len(rows), width)).astype("float32")
        for row, value in enumerate(values, start):
            writer.put(row, 0, value)
    writer.close()
    store.write_meta(paths.features, meta)
    paths.card.parent.mkdir(parents=True, exist_ok=True)
    paths.card.write_text("{}")  # `finetune` writes both, and `evaluate` looks there for a temperature and a curve
    history.write(history.empty(), paths.finetune_history)


class Held:
    """A context that looks, ten times a second, how many bytes this process holds beyond those at its beginning."""

    def __enter__(self) -> Held:
        self._ended = threading.Event()
        self.most_bytes, self._first = 0, _anonymous_bytes()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self.most_bytes = max(self.most_bytes, _anonymous_bytes() - self._first)


def _anonymous_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("Anonymous:")).split()[1])


def run(stage: str, folder: Path) -> None:
    """One stage, in this process; prints its seconds, its CPU seconds and the most bytes that it held."""
    from graft.config.load import load
    from graft.runtime import numerics
    from graft.runtime.tensorflow import start_tensorflow

    numerics.apply("portable")
    start_tensorflow()
    import keras  # noqa: F401

    from graft.stages import evaluate, train

    params, paths = load(folder / "params.yaml"), _paths(folder)
    name, *head = stage.split()
    chosen = {"head": head[0], "epochs": 2} if head else {}
    params = params.model_copy(update={"train": params.train.model_copy(update=chosen)})
    with Held() as held:
        began, cpu_began = time.perf_counter(), time.process_time()
        if name == "train":
            train.run(params, paths, lambda epoch, metrics: None)
        else:
            evaluate.run(params, paths)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    print(seconds, cpu_seconds, held.most_bytes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--width", type=int, default=320, help="of a feature")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--stage", nargs=2, metavar=("STAGE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        return run(options.stage[0], Path(options.stage[1]))
    for n in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make(folder, n, options.width, options.classes)
            for stage in STAGES:
                command = [sys.executable, __file__, "--stage", stage, name]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                figures = zip(("seconds", "cpu_seconds", "gb"), map(float, done.stdout.split()[-3:]), strict=True)
                found = {f"growth.{stage.replace(' ', '_')}_{what}_{n}": value for what, value in figures}
                keep({name: value / 1e9 if "_gb_" in name else value for name, value in found.items()})
            disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            keep({f"growth.disk_gb_{n}": disk / 1e9})


if __name__ == "__main__":
    main()
