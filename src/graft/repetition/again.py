"""One plan, from the features that are there to what its models are worth: by the pipeline's own stages.

They write into a temporary folder, so that the same seed gives what the pipeline gives, to the last digit.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import TrainingError
from graft.evaluation import metrics
from graft.examples import dataset, split
from graft.models import card
from graft.repetition.plans import Plan
from graft.runtime.progress import hushed, say
from graft.stages import evaluate, extract, finetune, train
from graft.training import history

if TYPE_CHECKING:
    import pandas as pd

    from graft.config.schema import Params
    from graft.pipeline.layout import Paths
    from graft.training.fit import OnEpoch

READ = ("catalogue", "split", "quarantine", "duplicates", "features", "activations", "prepare_metrics")
"""Paths that are the pipeline's own; what is trained goes elsewhere."""

EXTRACTED = ("features", "activations")
"""Those of READ that are not, where a plan has `extract` run for it."""


@dataclass(frozen=True)
class Trained:
    """What came of a plan. judged: model -> split -> what it said of the images there.

    histories: training stage -> its history, without rows where it did not run. cpu_seconds: training stage -> the
    processor time it took, with all that it loads, compares and writes.
    """

    plan: Plan
    judged: Mapping[str, Mapping[Any, metrics.Judged]]
    histories: Mapping[str, pd.DataFrame]
    cpu_seconds: Mapping[str, float]

    @cached_property
    def metrics(self) -> dict[str, dict[str, dict[str, Any]]]:
        """model -> split -> metric, as in `data/evaluation.json`."""
        return metrics.compute_all(self.judged)


def each(plans: Sequence[Plan], paths: Paths, work: Sequence[float] | None = None) -> Iterator[Trained]:
    """Train and judge them one after the other; a line for each, with the time left.

    work: how long each takes in comparison with the others; None: all as long.
    """
    shares = [1.0] * len(plans) if work is None else work
    began = time.monotonic()
    for done, plan in enumerate(plans, start=1):
        with hushed():
            trained = once(plan, paths)
        left = (time.monotonic() - began) / sum(shares[:done]) * sum(shares[done:])
        say(f"{done}/{len(plans)} {plan.name}: {_shown(trained)}; {left:.0f} s left")
        yield trained


def once(plan: Plan, paths: Paths) -> Trained:
    """Train and judge one. Raises TrainingError where nothing is held out to judge by, and what the stages raise."""
    import keras

    params = plan.params
    keras.backend.clear_session()
    gc.collect()
    with tempfile.TemporaryDirectory(prefix="graft-repeat-") as name:
        own = _in(Path(name), paths, READ if not plan.extracts else [one for one in READ if one not in EXTRACTED])
        if plan.sides is not None:
            own = replace(own, split=Path(name) / "split.csv")
            split.write(plan.sides, own.split)
        data = dataset.read(own.catalogue, own.split)
        if not any(len(data.sides.rows[name]) for name in evaluate.JUDGED):
            raise TrainingError(
                "data.split: must hold examples out, for validation or test, to judge models by. Got none."
            )
        if plan.extracts:
            extract.run(params, own)
        cpu_seconds = {"train": _timed(train.run, params, own)}
        divisor = None
        if params.finetune.enabled or params.finetune.temperature != "none":
            cpu_seconds["finetune"] = _timed(finetune.run, params, own)
            divisor = card.read(own.card).get("temperature")
        else:
            history.write(history.empty(), own.finetune_history)
        histories = {stage: history.read(path) for stage, path in own.histories.items()}
        return Trained(plan, evaluate.judge(params, own, data, divisor), histories, cpu_seconds)


def _timed(stage: Callable[[Params, Paths, OnEpoch], None], params: Params, paths: Paths) -> float:
    """Run a training stage; seconds of processor time of this process, on all cores together."""
    began = time.process_time()
    stage(params, paths, lambda epoch, values: None)
    return time.process_time() - began


def _in(folder: Path, paths: Paths, read: Collection[str]) -> Paths:
    """Paths inside `folder`, but for those of `read`."""
    written = [field.name for field in fields(paths) if field.name not in read]
    return replace(paths, **{name: folder / getattr(paths, name).name for name in written})


def _shown(trained: Trained) -> str:
    """`head validation 0.9777, test 0.9889; finetuned ...`"""
    parts = []
    for model, splits in trained.metrics.items():
        accuracies = [f"{name} {found['accuracy']:.4f}" for name, found in splits.items()]
        parts.append(f"{model} {', '.join(accuracies)}")
    return "; ".join(parts)
