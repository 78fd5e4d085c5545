"""Where to unfreeze: short fine-tunes from cached activations at several cuts, judged on validation images alone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graft.backbones import build, networks
from graft.backbones.taps import Tap, evenly
from graft.convex import ridge
from graft.errors import TrainingError
from graft.examples import dataset
from graft.features import compute, plan, store
from graft.inputs.batches import Read, Task
from graft.models import assemble, heads
from graft.runtime.progress import say, track

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.examples.dataset import Dataset
    from graft.training.batches import Examples

MOST_CUTS = 6

LOWEST = 0.2
"""Share of the compute below the lowest cut that is tried: below it nearly all of the network is trained, on
activations larger than the image."""


@dataclass(frozen=True)
class Tuned:
    """cut: a value of `finetune.cut`. hits: (n,) bool over validation images. log_loss: of them, weighted.

    seconds: of training. stored_bytes: of one image's activations.
    """

    cut: str
    hits: np.ndarray
    log_loss: float
    seconds: float
    stored_bytes: int

    @property
    def accuracy(self) -> float:
        """Of validation images."""
        return float(self.hits.mean())


def cuts_of(taps: Sequence[Tap]) -> list[Tap]:
    """Up to MOST_CUTS of the taps with a cut, evenly spread."""
    return evenly([tap for tap in taps if tap.cut is not None and tap.below >= LOWEST], MOST_CUTS)


def run(
    params: Params, epochs: int, taps: Sequence[Tap], features: np.ndarray, data: Dataset, tasks: Sequence[Task],
    read: Read,
) -> list[Tuned]:  # fmt: skip
    """A fine-tune of `epochs` from each of `cuts_of`, each from the pretrained network and the same ridge head.

    `params.finetune` says how, but for views, `monitor` (val_loss) and `temperature`; its schedule is that of the short
    run. features: (n, c) of the network's output, of `data.used`; tasks: the same images. Raises TrainingError where
    there is no validation image.
    """
    validation = data.of("validation")
    if not validation.weights.any():
        raise TrainingError("graft probe --finetune judges cuts on validation examples, and the split has none.")
    train = data.of("train")
    read_features = features[train.rows, None].__getitem__
    solved = ridge.solve(read_features, train.targets, train.weights, len(data.classes))
    short = params.finetune.model_copy(update={"epochs": epochs, "steps": None, "monitor": "val_loss"})
    learns = short.batch_norm == "learning"
    found = []
    for tap in cuts_of(taps):
        cut = tap.cut or ""
        loaded = networks.of(params.backbone)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "activations"
            activations = plan.on_engine(
                params, partial(_activations, params, loaded=loaded, cut=cut, tasks=tasks, read=read, file=file)
            )
            head = heads.build("ridge", {"pooling": "avg"}, (features.shape[1],), len(data.classes), params.seed)
            head.get_layer(heads.LAST).set_weights([solved.kernel, solved.bias])
            model = assemble.classifier(loaded, "avg", head)
            assemble.unfreeze(loaded, cut, learns)
            above = assemble.above(model, cut, learns)
            start = above.get_weights()
            began = time.monotonic()
            dataset.fit_to(activations, data, above, short, params.seed, lambda epoch, metrics: None)
            seconds = time.monotonic() - began
            if short.interpolate < 1:
                assemble.interpolate(above, start, short.interpolate)
            probabilities = dataset.predicted(above, activations, validation.rows)
        hits = probabilities.argmax(axis=1) == validation.targets
        found.append(Tuned(cut, hits, _log_loss(probabilities, validation), seconds, tap.stored_bytes))
        say(f"from {cut}: validation accuracy {found[-1].accuracy:.4f}, log loss {found[-1].log_loss:.4f}")
    return sorted(found, key=lambda one: (-one.accuracy, one.log_loss))


def _log_loss(probabilities: np.ndarray, examples: Examples) -> float:
    """Weighted mean of the negative logarithm of the right class's probability."""
    of_right = probabilities[np.arange(len(examples.targets)), examples.targets]
    return float(np.average(-np.log(np.maximum(of_right, np.finfo(np.float32).tiny)), weights=examples.weights))


def _activations(
    params: Params, engine: str, loaded: build.Loaded, cut: str, tasks: Sequence[Task], read: Read, file: Path
) -> store.Stored:
    """Each task's image as it is, on disk; no views. Raises CannotRunError where the engine cannot run the network."""
    spec = plan.spec(params, engine, cut)
    shape = (len(tasks), 1, *compute.shapes(loaded, "avg", cut, spec.inputs.longest)[compute.ACTIVATIONS])
    array: np.ndarray = np.memmap(file, plan.ACTIVATIONS_DTYPE, "w+", shape=shape)
    rows: dict[str, list[int]] = {}  # equal images stand in several
    for number, task in enumerate(tasks):
        rows.setdefault(task.sha256, []).append(number)
    results = compute.computed(spec, (compute.ACTIVATIONS,), tasks, read, loaded)
    for keys, outputs in track(
        results, len(tasks), f"activations at {cut}", lambda batch: len(batch[0]), f"{params.data.kind}s"
    ):
        for (sha256, _), value in zip(keys, outputs[compute.ACTIVATIONS], strict=True):
            array[rows[sha256], 0] = value
    made_with = plan.declared(params, compute.ACTIVATIONS) | {"engine": engine, "views": 0, "augment": None}
    digest = store.examples_digest(task.sha256 for task in tasks)
    return store.Stored(array, store.Meta(made_with, {"cut": cut}, shape, plan.ACTIVATIONS_DTYPE, digest))
