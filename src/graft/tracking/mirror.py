"""What a run of MLflow is given, from the files of a pass."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from graft.data import catalogue, report
from graft.tracking import dvc, model

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from graft.params import Params


@dataclass(frozen=True)
class Inputs:
    """The files that enter training."""

    catalogue: Path
    split: Path
    features: Path


@dataclass(frozen=True)
class Outputs:
    """The files a complete run is made of. histories: stage -> its CSV."""

    inputs: Inputs
    model: Path
    histories: dict[str, Path]
    metrics: Path
    prepare_metrics: Path
    quarantine: Path
    duplicates: Path
    pictures: Path
    confusion: Path
    predictions: Path


@dataclass
class Tracked:
    """An open run and what it already holds."""

    client: MlflowClient
    run_id: str
    steps: dict[str, set[int]] = field(default_factory=dict)

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Log what the run lacks at this step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        missing = {name: value for name, value in values.items() if step not in self._steps(name)}
        if missing:
            self.client.log_batch(self.run_id, metrics=[Metric(n, float(v), now, step) for n, v in missing.items()])
        for name in missing:
            self.steps[name].add(step)

    def _steps(self, name: str) -> set[int]:
        if name not in self.steps:
            self.steps[name] = {m.step for m in self.client.get_metric_history(self.run_id, name)}
        return self.steps[name]


def outputs_digest(outputs: Outputs) -> str:
    """sha256 over the bytes of everything that a complete run shows."""
    files = [outputs.model, outputs.predictions, outputs.confusion, *outputs.histories.values()]
    files += [outputs.metrics, outputs.prepare_metrics, *sorted(outputs.pictures.iterdir())]
    state = hashlib.sha256()
    for path in files:
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()


def log(tracked: Tracked, params: Params, outputs: Outputs, running: str | None) -> None:
    """Everything a complete run has beside its params. running: as for `run.complete`."""
    _log_metrics(tracked, outputs)
    _log_artifacts(tracked, outputs)
    _log_data(tracked, params, outputs)
    _log_dataset(tracked, outputs.inputs)
    _log_stages(tracked, outputs, running)
    n_classes = len(catalogue.read(outputs.inputs.catalogue).classes)
    model.log(tracked.run_id, outputs.model, params.backbone.input_size, n_classes)


def _log_metrics(tracked: Tracked, outputs: Outputs) -> None:
    """Curves with the epoch as step; final metrics at step 0. Per-class values stay in the JSON."""
    for stage, path in outputs.histories.items():
        for row in pd.read_csv(path).to_dict("records"):
            values = {
                f"{stage}/{name}": float(value)
                for name, value in row.items()
                if name not in ("epoch", "steps", "best") and not pd.isna(value)
            }
            tracked.metrics(values, int(row["epoch"]))
    tracked.metrics(dict(_numbers(json.loads(outputs.metrics.read_text()))), 0)


def _numbers(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in tree.items():
        name = f"{prefix}/{key}" if prefix else key
        if isinstance(value, dict) and key != "per_class":
            yield from _numbers(value, name)
        elif isinstance(value, int | float):
            yield name, float(value)


def _log_artifacts(tracked: Tracked, outputs: Outputs) -> None:
    client, run_id = tracked.client, tracked.run_id
    client.log_artifacts(run_id, str(outputs.pictures), "plots")
    for path in (outputs.metrics, outputs.prepare_metrics):
        client.log_artifact(run_id, str(path), "metrics")
    for path in outputs.histories.values():
        client.log_artifact(run_id, str(path), "history")
    client.log_artifact(run_id, str(outputs.predictions), "predictions")
    client.log_artifact(run_id, str(outputs.inputs.features / "meta.json"), "features")
    meta = json.loads((outputs.inputs.features / "meta.json").read_text())
    client.set_tag(run_id, "graft.weights_sha256", meta["weights_sha256"])
    counts = json.loads(outputs.prepare_metrics.read_text())
    client.set_tag(run_id, "graft.images", f"{counts['used']} used, {counts['quarantined']} set aside")
    for name in ("params.yaml", "dvc.yaml"):
        if Path(name).exists():
            client.log_artifact(run_id, name, "code")


def _log_data(tracked: Tracked, params: Params, outputs: Outputs) -> None:
    """The split, what is wrong with the data, and the page that shows it."""
    split, quarantine, duplicates = outputs.inputs.split, outputs.quarantine, outputs.duplicates
    prepared = report.Prepared(outputs.inputs.catalogue, split, quarantine, duplicates, outputs.prepare_metrics)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        report.write(params.data.source, Path(params.data.path), prepared, page)
        for path in (page, split, quarantine, duplicates):
            tracked.client.log_artifact(tracked.run_id, str(path), "data")


def _log_dataset(tracked: Tracked, inputs: Inputs) -> None:
    from graft.tracking import dataset

    tracked.client.log_inputs(tracked.run_id, [dataset.entry(inputs.catalogue, dvc.md5_of(inputs.catalogue))])


def _log_stages(tracked: Tracked, outputs: Outputs, running: str | None) -> None:
    made = (outputs.metrics, outputs.confusion, outputs.pictures, outputs.predictions)
    states = dvc.stage_states(running, made)
    for stage, state in states.items():
        how = "executed" if state.executed else "cached"
        tracked.client.set_tag(tracked.run_id, f"graft.stage.{stage}", f"{how} {state.md5}")
    listing = {stage: {"executed": state.executed, "md5": state.md5s} for stage, state in states.items()}
    tracked.client.log_dict(tracked.run_id, listing, "stages.json")
