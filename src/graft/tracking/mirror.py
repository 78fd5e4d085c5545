"""What a run of MLflow is given, from the files of a pass."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from graft.errors import GraftError
from graft.evaluation import summary
from graft.examples import catalogue, report
from graft.examples.sources import SOURCES
from graft.models import card
from graft.pipeline import lock
from graft.runtime import environment
from graft.tracking import examples, identity, ledger, model

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from graft.config.data import DataParams
    from graft.config.schema import Params
    from graft.pipeline.layout import Paths

MOST_METRICS = 1000
"""That MLflow takes at a time: https://mlflow.org/docs/latest/api_reference/rest-api.html#log-batch."""


@dataclass
class Tracked:
    """An open run and what it already holds."""

    client: MlflowClient
    run_id: str
    name: str
    steps: dict[str, set[int]] = field(default_factory=dict)

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Log what the run lacks at this step."""
        self.history({step: values})

    def history(self, values: Mapping[int, Mapping[str, float]]) -> None:
        """Log what the run lacks at these steps, as many at a time as MLflow takes: each call costs a transaction."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        missing = [
            Metric(name, float(value), now, step)
            for step, named in values.items()
            for name, value in named.items()
            if step not in self._steps(name)
        ]
        for start in range(0, len(missing), MOST_METRICS):
            self.client.log_batch(self.run_id, metrics=missing[start : start + MOST_METRICS])
        for one in missing:
            self.steps[one.key].add(one.step)

    def _steps(self, name: str) -> set[int]:
        if name not in self.steps:
            self.steps[name] = {m.step for m in self.client.get_metric_history(self.run_id, name)}
        return self.steps[name]


CURVES = {"train": "while_training", "finetune": "while_finetuning"}
"""Stage -> what its curves stand under. Behind `test_` and `val_` in the alphabet, and no split's name."""

WITHOUT_FINETUNING = "without_finetuning"
"""What the head's own figures stand under, where a fine-tuned model ships."""

ENVIRONMENT, LOCKED, STAGES = "environment.json", "code/dvc.lock", "stages.json"
"""Artefacts that `graft reproduce` reads, beside the metrics: what ran, of what, with which results."""


CURVE = ("loss", "accuracy", "val_loss", "val_accuracy")
"""What is logged of an epoch; the learning rate stands in the history."""


def curve(stage: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """An epoch's metrics by their names in MLflow."""
    return {f"{CURVES[stage]}_{name}": float(metrics[name]) for name in CURVE if name in metrics}


def outputs_digest(paths: Paths) -> str:
    """sha256 over the bytes of everything that a complete run shows."""
    files = [paths.model, paths.card, paths.predictions, paths.confusion, *paths.histories.values()]
    files += [paths.summary, paths.metrics, paths.prepare_metrics, *sorted(paths.pictures.iterdir())]
    state = hashlib.sha256()
    for path in files:
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()


def log(tracked: Tracked, params: Params, paths: Paths, running: str | None) -> None:
    """Everything a complete run has beside its params. running: as for `run.complete`.

    What it is worth comes before its curves: `mlflow ui` shows metrics as they came, and compares runs by the first.
    """
    _log_artifacts(tracked, paths)
    _log_data(tracked, params, paths)
    digest = lock.md5_of(paths.catalogue)
    _log_dataset(tracked, paths, digest)
    log_origins(tracked, params, paths)
    for key, value in ledger.tags(paths).items():
        tracked.client.set_tag(tracked.run_id, key, value)
    _log_stages(tracked, paths, running)
    _log_surroundings(tracked, params, paths)
    described = _card(params, paths)
    tracked.client.log_dict(tracked.run_id, described, "card.json")
    example = _example(params.data, paths)
    curves = {stage: pd.read_csv(path) for stage, path in paths.histories.items()}
    after = 1 + max((int(rows["epoch"].max()) for rows in curves.values() if len(rows)), default=0)
    model_id = model.log(tracked.run_id, tracked.name, paths.model, described, example, after)
    _log_figures(tracked, paths, model_id, digest)
    for stage, rows in curves.items():
        tracked.history(_by_epoch(stage, rows))


def _card(params: Params, paths: Paths) -> dict[str, Any]:
    """The model's card with what only this run knows: how it was judged, and by which versions."""
    judged = json.loads(paths.metrics.read_text())
    final = summary.shipped(judged)
    return card.read(paths.card) | {
        "judged": {name: {"accuracy": m["accuracy"], "images": m["images"]} for name, m in judged[final].items()}
        if final
        else {},
        "numerics": params.numerics,
        "versions": model.versions(),
    }


def _by_epoch(stage: str, rows: pd.DataFrame) -> dict[int, dict[str, float]]:
    """epoch -> what is logged of it, of what a stage wrote."""
    known = [
        {str(name): float(value) for name, value in row.items() if not pd.isna(value)}
        for row in rows.to_dict("records")
    ]
    return {int(row["epoch"]): curve(stage, row) for row in known}


def _log_figures(tracked: Tracked, paths: Paths, model_id: str, digest: str) -> None:
    """What the model is worth, tied to it and to the data; and beside it what its head alone was worth."""
    from mlflow.entities import Metric

    from graft.tracking import dataset

    judged = json.loads(paths.metrics.read_text())
    shipped = summary.shipped(judged)
    now = int(time.time() * 1000)
    metrics = [
        Metric(name, value, now, 0, model_id, dataset.NAME, digest)
        for name, value in summary.figures(judged, shipped).items()
    ]
    metrics += [
        Metric(f"{WITHOUT_FINETUNING}_{name}", value, now, 0)
        for model in judged
        if model != shipped
        for name, value in summary.figures(judged, model).items()
    ]
    tracked.client.log_batch(tracked.run_id, metrics=metrics)


def _log_artifacts(tracked: Tracked, paths: Paths) -> None:
    client, run_id = tracked.client, tracked.run_id
    client.log_artifacts(run_id, str(paths.pictures), "plots")
    for path in (paths.summary, paths.metrics, paths.prepare_metrics):
        client.log_artifact(run_id, str(path), "metrics")
    for path in paths.histories.values():
        client.log_artifact(run_id, str(path), "history")
    client.log_artifact(run_id, str(paths.predictions), "predictions")
    client.log_artifact(run_id, str(paths.features / "meta.json"), "features")
    made_with = json.loads((paths.features / "meta.json").read_text())["made_with"]
    client.set_tag(run_id, "graft.weights_sha256", made_with["weights_sha256"])
    counts = json.loads(paths.prepare_metrics.read_text())
    client.set_tag(run_id, "graft.images", f"{counts['used']} used, {counts['quarantined']} set aside")
    for name in ("params.yaml", "dvc.yaml"):
        if Path(name).exists():
            client.log_artifact(run_id, name, "code")


def _log_data(tracked: Tracked, params: Params, paths: Paths) -> None:
    """The split, what is wrong with the data, and the page that shows it."""
    tracked.client.log_text(tracked.run_id, data_page(params, paths), "data/report.html")
    for path in (paths.split, paths.quarantine, paths.duplicates):
        tracked.client.log_artifact(tracked.run_id, str(path), "data")


def data_page(params: Params, paths: Paths) -> str:
    """The page, which is made once by a process, unless `prepare` has written something else since."""
    written = (paths.catalogue, paths.split, paths.quarantine, paths.duplicates, paths.prepare_metrics)
    found = [path.stat() for path in written if path.exists()]
    states = tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)
    return _data_page(params.data.source, Path(params.data.path), paths, states)


@lru_cache(1)
def _data_page(source: str, root: Path, paths: Paths, written: tuple[tuple[int, ...], ...]) -> str:
    return report.page(source, root, paths)


def log_origins(tracked: Tracked, params: Params, paths: Paths) -> None:
    """What `graft lineage` finds a model by: its weights, the data, and each example that it has seen."""
    tracked.client.set_tag(tracked.run_id, identity.WEIGHTS, card.read(paths.card)["weights_sha256"])
    if md5 := lock.md5_of_dependency("prepare", Path(params.data.path)):
        tracked.client.set_tag(tracked.run_id, identity.DATA, md5)
    examples.log(tracked.client, tracked.run_id, paths)


def _log_dataset(tracked: Tracked, paths: Paths, digest: str) -> None:
    """MLflow looks whether it knows a dataset and adds it, in two steps: of two who log it at the same moment, as two
    workers of a queue may, one is refused, and finds it there the next time."""
    from mlflow.exceptions import MlflowException

    from graft.tracking import dataset

    entry = dataset.entry(paths.catalogue, digest)
    try:
        tracked.client.log_inputs(tracked.run_id, [entry])
    except MlflowException:
        tracked.client.log_inputs(tracked.run_id, [entry])


def _example(data: DataParams, paths: Paths) -> bytes | None:
    """A small example that was not trained on, where there is one; None where the examples are not here."""
    used = catalogue.read(paths.catalogue).used
    sides = pd.read_csv(paths.split, dtype=str, keep_default_na=False).set_index("path")["split"]
    held_out = used[used["path"].map(sides).isin(["test", "validation"])]
    chosen = (held_out if len(held_out) else used).sort_values(["bytes", "path"]).iloc[0]
    try:
        return catalogue.reader(SOURCES[data.source], Path(data.path))(chosen["path"], chosen["sha256"])
    except (OSError, GraftError):
        return None


def _log_stages(tracked: Tracked, paths: Paths, running: str | None) -> None:
    made = (paths.summary, paths.metrics, paths.confusion, paths.pictures, paths.predictions)
    states = lock.stage_states(running, made)
    for stage, state in states.items():
        how = "executed" if state.executed else "cached"
        tracked.client.set_tag(tracked.run_id, f"graft.stage.{stage}", f"{how} {state.md5}")
    listing = {stage: {"executed": state.executed, "md5": state.md5s} for stage, state in states.items()}
    tracked.client.log_dict(tracked.run_id, listing, STAGES)


def _log_surroundings(tracked: Tracked, params: Params, paths: Paths) -> None:
    """What it takes to compute the pass again elsewhere, and to say what was otherwise there."""
    client, run_id = tracked.client, tracked.run_id
    client.log_dict(run_id, environment.here(params.numerics).model_dump(), ENVIRONMENT)
    client.set_tag(run_id, ledger.MODEL, lock.md5_of(paths.model))  # without test images, too
    if lock.LOCK.exists():
        client.log_artifact(run_id, str(lock.LOCK), "code")
