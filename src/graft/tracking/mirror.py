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

from graft.examples import report
from graft.models import card
from graft.pipeline import lock
from graft.tracking import model

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from graft.config.schema import Params
    from graft.pipeline.layout import Paths


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


def outputs_digest(paths: Paths) -> str:
    """sha256 over the bytes of everything that a complete run shows."""
    files = [paths.model, paths.card, paths.predictions, paths.confusion, *paths.histories.values()]
    files += [paths.metrics, paths.prepare_metrics, *sorted(paths.pictures.iterdir())]
    state = hashlib.sha256()
    for path in files:
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()


def log(tracked: Tracked, params: Params, paths: Paths, running: str | None) -> None:
    """Everything a complete run has beside its params. running: as for `run.complete`."""
    _log_metrics(tracked, paths)
    _log_artifacts(tracked, paths)
    _log_data(tracked, params, paths)
    _log_dataset(tracked, paths)
    _log_stages(tracked, paths, running)
    described = _card(params, paths)
    tracked.client.log_dict(tracked.run_id, described, "card.json")
    model.log(tracked.run_id, paths.model, described)


def _card(params: Params, paths: Paths) -> dict[str, Any]:
    """The model's card with what only this run knows: how it was judged, and by which versions."""
    judged = json.loads(paths.metrics.read_text())
    final = list(judged)[-1] if judged else ""
    return card.read(paths.card) | {
        "judged": {name: {"accuracy": m["accuracy"], "images": m["images"]} for name, m in judged[final].items()}
        if judged
        else {},
        "numerics": params.numerics,
        "versions": model.versions(),
    }


def _log_metrics(tracked: Tracked, paths: Paths) -> None:
    """Curves with the epoch as step; final metrics at step 0. Per-class values stay in the JSON."""
    for stage, path in paths.histories.items():
        for row in pd.read_csv(path).to_dict("records"):
            values = {
                f"{stage}/{name}": float(value)
                for name, value in row.items()
                if name not in ("epoch", "steps", "best") and not pd.isna(value)
            }
            tracked.metrics(values, int(row["epoch"]))
    tracked.metrics(dict(_numbers(json.loads(paths.metrics.read_text()))), 0)


def _numbers(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in tree.items():
        name = f"{prefix}/{key}" if prefix else key
        if isinstance(value, dict) and key != "per_class":
            yield from _numbers(value, name)
        elif isinstance(value, int | float):
            yield name, float(value)


def _log_artifacts(tracked: Tracked, paths: Paths) -> None:
    client, run_id = tracked.client, tracked.run_id
    client.log_artifacts(run_id, str(paths.pictures), "plots")
    for path in (paths.metrics, paths.prepare_metrics):
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
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        report.write(params.data.source, Path(params.data.path), paths, page)
        for path in (page, paths.split, paths.quarantine, paths.duplicates):
            tracked.client.log_artifact(tracked.run_id, str(path), "data")


def _log_dataset(tracked: Tracked, paths: Paths) -> None:
    from graft.tracking import dataset

    tracked.client.log_inputs(tracked.run_id, [dataset.entry(paths.catalogue, lock.md5_of(paths.catalogue))])


def _log_stages(tracked: Tracked, paths: Paths, running: str | None) -> None:
    made = (paths.metrics, paths.confusion, paths.pictures, paths.predictions)
    states = lock.stage_states(running, made)
    for stage, state in states.items():
        how = "executed" if state.executed else "cached"
        tracked.client.set_tag(tracked.run_id, f"graft.stage.{stage}", f"{how} {state.md5}")
    listing = {stage: {"executed": state.executed, "md5": state.md5s} for stage, state in states.items()}
    tracked.client.log_dict(tracked.run_id, listing, "stages.json")
