"""What graft itself does to texts, in parts: `extract`, the head on its features, an epoch above a cut.

    python benchmarks/text_graft.py texts.csv number network numerics tuned

A process for each value of `numerics`, since TensorFlow reads it as it is imported; `workers` says how it is asked. The
recipe is `presets/banking77.yaml`. All of texts.csv are extracted once for the head; `number` of them are in a round
of `extract`, and `tuned` of them in an epoch.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common import write_params
from graft.backbones import encoders, taps
from graft.config.load import load
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow
from workers import serve

INPUT, BLOCKS = encoders.FIRST, "block_4"
"""Where the layers begin that are trained: all of them, or two blocks of MiniLM's six."""

EPOCHS = 2
"""Of which the first one traces the graphs, and the last one is timed."""

ENGINES = {"portable": ("tensorflow",), "native": ("openvino", "tensorflow")}
"""Those of which a text network's features are what `numerics` says; the first one is what `auto` means."""


class Subject:
    """A project on all texts, prepared, its network built.

    used: the catalogue's rows, in the order of texts.csv.
    """

    def __init__(self, file: Path, network: Path, how: str, folder: Path) -> None:
        from graft.examples import catalogue
        from graft.examples.sources import SOURCES
        from graft.features import compute
        from graft.pipeline import layout
        from graft.stages import prepare

        changes = {
            "numerics": how, "data.path": str(file.parent), "data.manifest.file": file.name,
            "data.manifest.lists.train": None, "data.manifest.lists.test": None, "data.split.method": "fractions",
            "backbone.weights": str(network), "backbone.weights_sha256": encoders.digest(network),
            "finetune.cut": BLOCKS, "finetune.warmup_steps": 0, "finetune.monitor": "loss", "finetune.epochs": EPOCHS,
        }  # fmt: skip
        write_params(folder, changes, "presets/banking77.yaml")
        self.params, relative = load(folder / "params.yaml"), layout.read(folder / "dvc.yaml")
        self.paths = layout.Paths(**{name: folder / getattr(relative, name) for name in layout.NAMES})
        self.folder = folder
        prepare.run(self.params, self.paths)
        self.catalogue = catalogue.read(self.paths.catalogue)
        used = self.catalogue.used
        self.read = catalogue.reader(SOURCES[self.params.data.source], file.parent)
        n_texts = len(pd.read_csv(file, dtype=str, keep_default_na=False))
        if len(used) != n_texts:
            raise SystemExit(f"{file}: each of its {n_texts} texts must be used by graft. Got {len(used)}.")
        self.used = used.sort_values("path")  # a path ends in the number of its row, in digits of one width
        # Building and compiling are left out: each is done once, and before what is timed.
        self._loaded = taps.built(self.params.backbone, self.params.extract.pooling, self.params.extract.taps)
        taps.built = lambda *_: self._loaded
        compute.shapes = cache(compute.shapes)
        make, made = compute.forward, {}

        def forward(spec: Any, wanted: Any, loaded: Any) -> Any:
            key = (spec.engine, tuple(wanted))
            if key not in made:
                made[key] = make(spec, wanted, loaded)
            return made[key]

        compute.forward = forward

    def extract(self, number: int, engine: str, with_activations: bool) -> float:
        """Seconds of the stage on the first `number` texts, with an empty cache."""
        from graft.examples import catalogue
        from graft.stages import extract

        p = self.params
        params = p.model_copy(
            update={
                "extract": p.extract.model_copy(update={"engine": engine}),
                "finetune": p.finetune.model_copy(update={"enabled": with_activations}),
            }
        )
        catalogue.Catalogue(self.used.iloc[:number]).write(self.paths.catalogue)
        os.environ["GRAFT_CACHE_DIR"] = tempfile.mkdtemp(dir=self.folder)
        began = time.perf_counter()
        extract.run(params, self.paths)
        return time.perf_counter() - began

    def features(self, number: int) -> np.ndarray:
        """(number, width) float32, as `extract` has stored them."""
        return np.array(np.load(self.paths.features / "array.npy", mmap_mode="r")[:number, 0])

    @property
    def targets(self) -> np.ndarray:
        from graft.examples import split

        return np.asarray(split.targets(self.used, self.catalogue.classes))

    def head(self) -> float:
        """Seconds in which the logistic head is solved on the features of all texts, its penalty chosen."""
        from graft.convex import logistic

        features, weights = self.features(len(self.used)), np.ones(len(self.used), np.float32)
        began = time.perf_counter()
        logistic.solve(lambda rows: features[rows], self.targets, weights, len(self.catalogue.classes))
        return time.perf_counter() - began

    @cache  # noqa: B019  there is one subject
    def _trained(self, cut: str) -> tuple[Any, Callable[[np.ndarray, int], np.ndarray]]:
        """The model from a cut on, and what it reads: a network of its own, since other layers of it are trained."""
        from graft import inputs
        from graft.backbones import build
        from graft.examples.pixels import Pixels
        from graft.features import store
        from graft.models import assemble, heads

        loaded = build.of(self.params.backbone)
        width, n_classes = loaded.model.output_shape[-1], len(self.catalogue.classes)
        head = heads.build("logistic", self.params.train.heads.logistic.model_dump(), (width,), n_classes, 0)
        model = assemble.classifier(loaded, self.params.extract.pooling, head)
        assemble.unfreeze(loaded, cut)
        paths, sha256s = list(self.used["path"]), list(self.used["sha256"])
        views: store.Views
        if cut == INPUT:
            views = Pixels(inputs.of(self.params), self.read, paths, sha256s, 1)
        else:
            views = store.require(self.paths.activations, sha256s)
        return assemble.above(model, cut), lambda rows, epoch: views.drawn(rows, 0, epoch)

    def epoch(self, cut: str, number: int) -> float:
        """Seconds of an epoch from a cut on, on the first `number` texts; `extract` has stored what crosses of all."""
        from graft.training.batches import Examples
        from graft.training.fit import fit

        model, fetch = self._trained(cut)
        rows = np.arange(number)
        train = Examples(rows, self.targets[rows], np.ones(number, np.float32))
        nothing = Examples(rows[:0], self.targets[:0], np.ones(0, np.float32))
        ends: list[float] = []

        def note(epoch: int, metrics: dict[str, float]) -> None:
            ends.append(time.perf_counter())

        fit(model, self.params.finetune, 0, len(self.catalogue.classes), train, fetch, nothing, fetch, note)
        return min(b - a for a, b in itertools.pairwise(ends))


def main(file: Path, number: int, network: Path, how: str, tuned: int) -> None:
    numerics.apply(how)
    start_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(file, network, how, Path(folder))
        default, *_ = ENGINES[how]

        def rate(engine: str) -> dict[str, float]:
            return {"rate": number / subject.extract(number, engine, False)}

        def everything() -> float:
            """What fine-tuning begins with: the features and activations of all texts."""
            subject.extract(2, default, True)  # compiles
            return subject.extract(len(subject.used), default, True)

        for engine in ENGINES[how]:
            subject.extract(64, engine, False)
        serve(
            {
                **{engine: partial(rate, engine) for engine in ENGINES[how]},
                "features": lambda: subject.features(100).tolist(),
                "everything": everything,
                "head": subject.head,
                **{cut: partial(subject.epoch, cut, tuned) for cut in (INPUT, BLOCKS)},
            }
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
